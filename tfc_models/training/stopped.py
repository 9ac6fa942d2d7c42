"""Exception for training that ends early. Imports nothing: it is copied into exported steps."""

from __future__ import annotations

MAX_NONFINITE_STEPS = 20  # consecutive steps without a finite loss after which a run is stopped


class TrainingStopped(Exception):
    """Training ended before its budget was used up; the message states the reason.

    Attributes:
        exit_code: exit status for the process.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
