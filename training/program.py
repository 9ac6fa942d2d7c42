"""How a program ends: an error is one line, and its exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable

from absl import app, logging

from training.run import Stopped


def one_line_errors(job: Callable[[], None]) -> Callable[[list[str]], None]:
    """What `app.run` takes: does the job; an error is one line, and its exit status."""

    def main(argv: list[str]) -> None:
        if argv[1:]:
            raise app.UsageError(f"what is {argv[1]!r}? Everything is a flag; see --help.")
        try:
            job()
        except (ValueError, OSError, TypeError, Stopped) as error:
            logging.error("%s", str(error).strip().splitlines()[0])
            sys.exit(getattr(error, "exit_code", 1))

    return main
