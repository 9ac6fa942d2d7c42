"""How much work an example is: what is large is not to be put into a batch with others."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping

import numpy as np
from PIL import Image

PIXELS_A_BYTE = 16  # of a bitstream, at half a bit for each pixel


def pixels_of(inputs: Mapping[str, np.ndarray]) -> float:
    """About how many pixels the strings of a request stand for, picture files and bitstreams."""
    total = 0.0
    for array in inputs.values():
        for value in array.ravel() if array.dtype.kind == "O" else ():
            total += _claimed(value) if isinstance(value, bytes) else 0.0
    return total


def _claimed(data: bytes) -> float:
    """What a picture's header says; nothing is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "BMP", "GIF"]) as image:
                return float(image.width * image.height)
    except Exception:  # Whatever it is, somebody else says what is wrong with it.
        return float(PIXELS_A_BYTE * len(data))
