"""Log output of long-running commands."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def to_stderr(quiet: bool = False) -> Iterator[None]:
    """Prints absl's log messages to standard error, as plain lines.

    Args:
        quiet: prints errors only.
    """
    from absl import logging as absl_logging  # The import replaces Python's logger class.

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("absl")
    before = logger.handlers, logger.propagate, absl_logging.get_verbosity()
    logger.handlers, logger.propagate = [handler], False
    absl_logging.set_verbosity(absl_logging.ERROR if quiet else absl_logging.INFO)
    try:
        yield
    finally:
        logger.handlers, logger.propagate, verbosity = before
        absl_logging.set_verbosity(verbosity)
