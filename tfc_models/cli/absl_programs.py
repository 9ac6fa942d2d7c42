"""Entry point of the absl programs: help, one-line errors and exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from absl import app, flags, logging

from tfc_models.training.stopped import TrainingStopped

ERRORS = (ValueError, OSError, TypeError, TrainingStopped)

# Without this, absl attributes the flags that `run` adopts to this module, not to the program.
flags.disclaim_key_flags()


def run(
    job: Callable[..., int | None],
    *flag_modules: ModuleType,
    words: bool = False,
    beam: bool = False,
    errors: Sequence[type[Exception]] = ERRORS,
    report: Callable[[Exception], None] | None = None,
    verbosity: int | None = None,
    status: int = 1,
) -> None:
    """Runs a program and ends the process with its exit status.

    Args:
        job: the program. It returns an exit status, or None for 0.
        *flag_modules: modules whose flags --help lists in addition to the program's own.
        words: whether `job` takes a list of the positional arguments.
        beam: whether unknown flags are passed to `job` as arguments for Apache Beam.
        errors: exceptions that are reported in one line. Their attribute `exit_code`, if any, is
            the exit status.
        report: prints an error.
        verbosity: verbosity of absl's log.
        status: exit status of errors without an `exit_code`.
    """
    for module in flag_modules:
        flags.adopt_module_key_flags(module)

    def main(argv: list[str]) -> None:
        if argv[1:] and not words:
            raise app.UsageError(f"unexpected argument {argv[1]!r}: use flags only; see --help.")
        if verbosity is not None:
            logging.set_verbosity(verbosity)
        try:
            sys.exit(job(argv[1:]) if words else job())
        except tuple(errors) as error:
            (report or log_error)(error)
            sys.exit(getattr(error, "exit_code", status))

    def known_only(argv: list[str]) -> Any:
        return flags.FLAGS(argv, known_only=True)

    if beam:
        app.run(main, flags_parser=known_only)
    else:
        app.run(main)


def log_error(error: Exception) -> None:
    """Logs the first line of an error's message."""
    logging.error("%s", first_line(error))


def print_error(error: Exception) -> None:
    """Prints the first line of an error's message."""
    print(f"error: {first_line(error)}", file=sys.stderr)


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or the error's type if it is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
