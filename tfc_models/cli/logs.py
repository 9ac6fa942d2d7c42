"""Logs of long commands, for a person."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def shown(quiet: bool = False) -> Iterator[None]:
    """Prints messages of absl's log on standard error, as plain lines.

    Args:
        quiet: leaves out all but errors.
    """
    from absl import logging as absl_logging  # Replaces the class of loggers.

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
