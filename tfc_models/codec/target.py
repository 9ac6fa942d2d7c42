"""Files of a given size or fidelity, by search over the quality of a model of many rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tfc_models.codec.codec import Codec

LARGEST = 100


class Found(NamedTuple):
    """A file and the quality that gave it."""

    data: bytes
    quality: int


def compress_to_bytes(codec: Codec, picture: np.ndarray, size: int) -> Found:
    """The file of the highest quality that takes at most `size` bytes.

    Raises:
        ValueError: the model has one rate, or even its lowest quality takes more.
    """
    _require_many_rates(codec)
    best = Found(codec.compress(picture, 0), 0)
    if len(best.data) > size:
        raise ValueError(
            f"the picture takes {len(best.data)} bytes at quality 0: {size} are too few."
        )
    low, high = 0, LARGEST + 1  # low fits; high is taken not to
    while high - low > 1:
        quality = (low + high) // 2
        data = codec.compress(picture, quality)
        if len(data) <= size:
            low, best = quality, Found(data, quality)
        else:
            high = quality
    return best


def compress_to_psnr(codec: Codec, picture: np.ndarray, psnr: float) -> Found:
    """The file of the lowest quality whose picture has at least `psnr` decibels.

    Raises:
        ValueError: the model has one rate, or even its highest quality has less.
    """
    _require_many_rates(codec)
    best = Found(codec.compress(picture, LARGEST), LARGEST)
    reached = _psnr(codec, picture, best.data)
    if reached < psnr:
        raise ValueError(
            f"the picture reaches {reached:.2f} dB at quality {LARGEST}: {psnr:g} are too many."
        )
    low, high = -1, LARGEST  # high reaches it; low is taken not to
    while high - low > 1:
        quality = (low + high) // 2
        data = codec.compress(picture, quality)
        if _psnr(codec, picture, data) >= psnr:
            high, best = quality, Found(data, quality)
        else:
            low = quality
    return best


def _psnr(codec: Codec, picture: np.ndarray, data: bytes) -> float:
    error = codec.decompress(data, 2**62, 2**62).astype(np.float64) - picture
    mse = np.mean(np.square(error))
    return float(10.0 * np.log10(255.0**2 / mse)) if mse else float("inf")


def _require_many_rates(codec: Codec) -> None:
    if not codec.many_rates:
        raise ValueError(f"{codec.model_name} has one rate: it cannot aim at a size or a PSNR.")
