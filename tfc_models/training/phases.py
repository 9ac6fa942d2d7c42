"""Durations of the phases of a program, for its log."""

from __future__ import annotations

import time

from tfc_models.training import BEGAN


class Phases:
    """Durations of consecutive phases of the process.

    The first phase begins with the process. Every other phase begins at the end of the previous
    one, even if another object recorded that.
    """

    _ended = BEGAN

    def __init__(self) -> None:
        self._phases: list[tuple[str, float]] = []

    def end(self, name: str) -> float:
        """Ends a phase and returns its duration in seconds."""
        now = time.monotonic()
        seconds = now - Phases._ended
        self._phases.append((name, seconds))
        Phases._ended = now
        return seconds

    @property
    def seconds(self) -> float:
        """Total duration of all phases in seconds."""
        return sum(seconds for _, seconds in self._phases)

    def __str__(self) -> str:
        """Returns the total and each phase: 21 s (imports and model 9 s, linear start 12 s)."""
        phases = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self._phases)
        return f"{self.seconds:.0f} s ({phases})"
