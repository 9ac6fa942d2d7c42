"""Optional packages, which the extras in setup.py install."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tfc_models.cli.errors import CommandError


@contextlib.contextmanager
def required(extra: str) -> Iterator[None]:
    """Turns a missing package into an error that names the command to install it.

    Args:
        extra: extra in setup.py that contains the packages imported in the block.
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
