"""Pixels that the inputs of a request stand for, read from headers before anything is decoded."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping

import numpy as np

from tfc_models import images
from tfc_models.codec import BitstreamError, container
from tfc_models.serving.servable import EFFORT

SEARCH_TIMES = 100  # by how much a search takes longer than the single pass, roughly
PIXELS_A_BYTE = 16  # of what has no header, at half a bit for each pixel


def pixels_of(inputs: Mapping[str, np.ndarray]) -> float:
    """Pixels of picture files, bitstreams and arrays of pixels, as their headers claim them."""
    total = 0.0
    for array in inputs.values():
        if array.dtype.kind == "O":
            total += sum(claimed(value) for value in array.ravel() if isinstance(value, bytes))
        elif array.dtype == np.uint8:
            total += math.prod(array.shape[:-1] if array.ndim > 2 else array.shape)
    return total


def work_of(inputs: Mapping[str, np.ndarray]) -> float:
    """Pixels that take a single pass as long as these inputs take."""
    return pixels_of(inputs) * (SEARCH_TIMES if searches(inputs) else 1)


def searches(inputs: Mapping[str, np.ndarray]) -> bool:
    """Whether the encoder searches better integers for any of the pictures."""
    return EFFORT in inputs and bool(np.any(inputs[EFFORT] > 0))


def sizes_of(bitstreams: np.ndarray) -> Iterator[tuple[int, int]]:
    """Width and height that each bitstream claims, without those whose header is damaged."""
    for data in bitstreams.ravel():
        with contextlib.suppress(BitstreamError):  # The graph says what is wrong with it.
            yield container.claimed_size(data)


def claimed(data: bytes) -> float:
    """Pixels of one file; nothing is decoded."""
    try:
        if data.startswith(container.MAGIC):
            width, height = container.claimed_size(data)
        else:
            width, height = images.size_of(data)
    except (images.ImageError, BitstreamError, OSError):
        return float(PIXELS_A_BYTE * len(data))  # Its reader says what is wrong with it.
    return float(width * height)
