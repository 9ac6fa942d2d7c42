"""Names of compressed and decompressed files."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from tfc_models.codec.container import SUFFIX

UNREADABLE = "its format cannot be read: convert it to PNG, JPEG, TIFF or WebP first."


def is_compressed(path: pathlib.Path) -> bool:
    """Returns whether a file's name says that it is a compressed image."""
    return path.suffix.lower() == SUFFIX


def renamed(
    path: pathlib.Path, suffix: str, stripped: Callable[[pathlib.Path], bool]
) -> pathlib.Path:
    """Returns the name of an output: the input's with another suffix, or with one more.

    Args:
        path: of the input.
        suffix: of the output.
        stripped: whether an input's own suffix is replaced, rather than kept.
    """
    # .v2 is not the suffix of an image format: photo.v2.tfcm, not photo.tfcm.
    return path.with_suffix(suffix) if stripped(path) else path.with_name(path.name + suffix)
