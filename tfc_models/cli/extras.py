"""Optional dependencies of the commands: the extras of setup.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tfc_models.cli.errors import CommandError


@contextlib.contextmanager
def needed(extra: str) -> Iterator[None]:
    """Reports a package that is missing in the block with the command that installs it.

    Args:
        extra: which has the package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "tfc_models"):
            raise
        raise CommandError(
            f"the package {package} is not installed: pip install 'tfc-models[{extra}]'"
        ) from error
