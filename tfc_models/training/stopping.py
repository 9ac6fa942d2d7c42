"""An end of training before its budget is spent. Imports nothing: travels with a step."""

from __future__ import annotations

NOT_NUMBERS = 20  # steps in a row without a usable loss, after which a run has diverged


class Stopped(Exception):
    """Training ended before its budget did; the message says why."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
