"""Command-line programs: their flags in --help, one line per error, and the exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

from absl import app, flags, logging

from training.run import Stopped

# absl then attributes the flags that `run` adopts to the program that calls it.
flags.disclaim_key_flags()


def run(job: Callable[[], None], *flag_modules: ModuleType) -> None:
    """Runs a program. Its --help lists the flags of its own module and of `flag_modules`."""
    for module in flag_modules:
        flags.adopt_module_key_flags(module)
    app.run(one_line_errors(job))


def one_line_errors(job: Callable[[], None]) -> Callable[[list[str]], None]:
    """Returns a main function that reports an error of `job` in one line and exits with it."""

    def main(argv: list[str]) -> None:
        if argv[1:]:
            raise app.UsageError(f"what is {argv[1]!r}? Everything is a flag; see --help.")
        try:
            job()
        except (ValueError, OSError, TypeError, Stopped) as error:
            logging.error("%s", str(error).strip().splitlines()[0])
            sys.exit(getattr(error, "exit_code", 1))

    return main
