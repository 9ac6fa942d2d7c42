"""Number of pixels of a request, read from file headers before anything is decoded."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping

import numpy as np

from tfc_models import images
from tfc_models.codec import BitstreamError, container
from tfc_models.serving.servable import EFFORT

SEARCH_COST_FACTOR = 100  # Approximate time of an encoder search relative to a single pass.
PIXELS_PER_BYTE = 16  # Estimate for files without a readable header: 0.5 bpp.


def pixels_of(inputs: Mapping[str, np.ndarray]) -> float:
    """Returns the pixels of image files, bitstreams and pixel arrays, according to headers."""
    total = 0.0
    for array in inputs.values():
        if array.dtype.kind == "O":
            total += sum(
                claimed_pixels(value) for value in array.ravel() if isinstance(value, bytes)
            )
        elif array.dtype == np.uint8:
            total += math.prod(array.shape[:-1] if array.ndim > 2 else array.shape)
    return total


def cost_of(inputs: Mapping[str, np.ndarray]) -> float:
    """Returns the cost of a request: its pixels, multiplied if the encoder searches."""
    return pixels_of(inputs) * (SEARCH_COST_FACTOR if searches(inputs) else 1)


def searches(inputs: Mapping[str, np.ndarray]) -> bool:
    """Returns whether any image has an effort above 0, so that the encoder searches."""
    return EFFORT in inputs and bool(np.any(inputs[EFFORT] > 0))


def sizes_of(bitstreams: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields width and height of each bitstream, except those with damaged headers."""
    for data in bitstreams.ravel():
        with contextlib.suppress(BitstreamError):  # The model reports the damage.
            yield container.claimed_size(data)


def claimed_pixels(data: bytes) -> float:
    """Returns the pixels of one file according to its header."""
    try:
        if data.startswith(container.MAGIC):
            width, height = container.claimed_size(data)
        else:
            width, height = images.size_of(data)
    except (images.ImageError, BitstreamError, OSError):
        return float(PIXELS_PER_BYTE * len(data))  # The decoder reports the damage.
    return float(width * height)
