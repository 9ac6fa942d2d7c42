"""Durations of the phases of a program, for its progress output."""

from __future__ import annotations

import time

from tfc_models.training import BEGAN


class Phases:
    """Consecutive phases of the process.

    The first phase begins with the process, and each other one where the one before it ended,
    whichever object that belonged to.
    """

    _ended = BEGAN

    def __init__(self) -> None:
        self._phases: list[tuple[str, float]] = []

    def end(self, name: str) -> float:
        """Ends a phase; returns its seconds."""
        now = time.monotonic()
        seconds = now - Phases._ended
        self._phases.append((name, seconds))
        Phases._ended = now
        return seconds

    @property
    def seconds(self) -> float:
        """Returns the seconds of all phases together."""
        return sum(seconds for _, seconds in self._phases)

    def __str__(self) -> str:
        """Returns the sum and the phases: 21 s (imports and model 9 s, linear start 12 s)."""
        shown = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self._phases)
        return f"{self.seconds:.0f} s ({shown})"
