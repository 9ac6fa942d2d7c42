"""Input images of the commands that evaluate metrics."""

from __future__ import annotations

import argparse
import pathlib

import numpy as np

from tfc_models import images
from tfc_models.cli.errors import CommandError, one_line


def read_pixels(path: pathlib.Path, options: argparse.Namespace) -> np.ndarray:
    """Returns the pixels of an image file, sRGB 0 to 255, height × width × 3."""
    try:
        return images.read(path, options.background, options.max_pixels, options.max_side).pixels
    except (images.ImageError, OSError) as error:
        raise CommandError(f"{path}: {one_line(error)}") from error


def center_crop(pixels: np.ndarray, side: int) -> np.ndarray:
    """Returns the central square of an image."""
    top, left = ((s - side) // 2 for s in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])
