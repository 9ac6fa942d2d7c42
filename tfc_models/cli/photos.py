"""Photos that metrics are tried on."""

from __future__ import annotations

import argparse
import pathlib

import numpy as np

from tfc_models import images
from tfc_models.cli.errors import CommandError, one_line


def read(path: pathlib.Path, options: argparse.Namespace) -> np.ndarray:
    """Returns the pixels of a picture file."""
    try:
        return images.read(path, options.background, options.max_pixels, options.max_side).pixels
    except (images.ImageError, OSError) as error:
        raise CommandError(f"{path}: {one_line(error)}") from error


def middle(picture: np.ndarray, side: int) -> np.ndarray:
    """Returns the middle of a picture, of that side."""
    top, left = ((s - side) // 2 for s in picture.shape[:2])
    return np.ascontiguousarray(picture[top : top + side, left : left + side])
