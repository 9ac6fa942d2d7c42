"""Files of a given size or fidelity, by search over the quality of a model of many rates."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tfc_models import metrics, pictures
from tfc_models.codec.container import LARGEST_QUALITY

if TYPE_CHECKING:
    from tfc_models.codec.codec import Codec


SMALL = 2**16  # pixels, at which all qualities are a matter of a second or two


class Found(NamedTuple):
    """A file and the quality that gave it."""

    data: bytes
    quality: int


def compress_to_bytes(codec: Codec, picture: np.ndarray, size: int) -> Found:
    """The file of the highest quality that takes at most `size` bytes.

    Raises:
        ValueError: the model has one rate, or even its lowest quality takes more.
    """
    files = _files(codec, picture)
    if len(files(0)) > size:
        # A higher quality of a picture of next to nothing may take a few bytes less.
        few = picture.shape[0] * picture.shape[1] <= SMALL
        for quality in range(LARGEST_QUALITY, 0, -1) if few else ():
            if len(files(quality)) <= size:
                return Found(files(quality), quality)
        least = min(len(files(q)) for q in range(LARGEST_QUALITY + 1 if few else 1))
        raise ValueError(f"the picture takes at least {least} bytes: {size} are too few.")
    quality = _last(lambda q: len(files(q)) <= size, 0, LARGEST_QUALITY + 1)
    return Found(files(quality), quality)


def compress_to_psnr(codec: Codec, picture: np.ndarray, psnr: float) -> Found:
    """The file of the lowest quality whose picture has at least `psnr` decibels.

    Raises:
        ValueError: the model has one rate, or even its highest quality has less.
    """
    files = _files(codec, picture)
    reference = pictures.as_rgb(picture)[None]

    def reached(quality: int) -> float:
        decoded = codec.decompress(files(quality), 2**62, 2**62)
        return float(metrics.psnr(reference, pictures.as_rgb(decoded)[None])[0])

    most = reached(LARGEST_QUALITY)
    if most < psnr:
        raise ValueError(
            f"the picture reaches {most:.2f} dB at quality {LARGEST_QUALITY}: "
            f"{psnr:g} are too many."
        )
    quality = _last(lambda q: reached(q) >= psnr, LARGEST_QUALITY, -1)
    return Found(files(quality), quality)


def _files(codec: Codec, picture: np.ndarray) -> Callable[[int], bytes]:
    """The file of each quality, made once."""
    if not codec.many_rates:
        raise ValueError(f"{codec.model_name} has one rate: it cannot aim at a size or a PSNR.")
    return functools.cache(lambda quality: codec.compress(picture, quality))


def _last(holds: Callable[[int], bool], good: int, bad: int) -> int:
    """From `good`, where it holds, towards `bad`, where it does not: a last where it holds."""
    while abs(good - bad) > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good
