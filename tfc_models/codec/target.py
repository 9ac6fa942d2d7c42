"""Files of a given size or fidelity, by search over the quality of a model of many rates.

With an encoder effort, each trial takes a whole search of integers. Qualities are therefore tried
in a single pass first. One search at the result shows how its file differs. Single steps lead from
the corrected quality to the requested one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfc_models import images, metrics
from tfc_models.codec.container import LARGEST_QUALITY

if TYPE_CHECKING:
    from tfc_models.codec.codec import Codec


SMALL = 2**16  # pixels; coding all qualities then takes a second or two
Files = Callable[[int], bytes]
Progress = Callable[[int, int], None]


class Found(NamedTuple):
    """File and its quality."""

    data: bytes
    quality: int


def compress_to_bytes(
    codec: Codec,
    image: np.ndarray,
    size: int,
    effort: int = 0,
    tune: str | None = None,
    progress: Progress | None = None,
) -> Found:
    """Returns the file of the highest quality with at most `size` bytes.

    With an effort, it is a quality whose file fits while that of the next quality does not.

    Args:
        codec: codec of a model of many rates.
        image: see `Codec.compress`.
        size: limit in bytes.
        effort: see `Codec.compress`.
        tune: see `Codec.compress`.
        progress: called during every search.

    Raises:
        ValueError: the model has one rate, or the lowest quality takes more bytes.
    """
    files = plain = _files(codec, image)
    few = image.shape[0] * image.shape[1] <= SMALL
    quality = start = _highest_within(plain, size, few)
    if effort:
        files = _files(codec, image, effort=effort, tune=tune, progress=progress)
        ratio = len(files(start or 0)) / len(plain(start or 0))
        corrected = _last(lambda q: ratio * len(plain(q)) <= size, 0, LARGEST_QUALITY + 1)
        quality = _edge(lambda q: len(files(q)) <= size, corrected, 1)
    if quality is None and start is not None:
        return Found(plain(start), start)  # Single passes may fit where no search does.
    if quality is None:
        least = min(len(plain(q)) for q in range(LARGEST_QUALITY + 1 if few else 1))
        least = min(least, len(files(0)))
        raise ValueError(
            f"the target of {size} bytes is too small: the image needs at least {least}."
        )
    return Found(files(quality), quality)


def compress_to_psnr(
    codec: Codec,
    image: np.ndarray,
    psnr: float,
    effort: int = 0,
    tune: str | None = None,
    progress: Progress | None = None,
) -> Found:
    """Returns the file of the lowest quality whose image has at least `psnr` decibels.

    With an effort, it is a quality that reaches them while the next lower one does not.

    Args:
        codec: codec of a model of many rates.
        image: see `Codec.compress`.
        psnr: target in decibels.
        effort: see `Codec.compress`.
        tune: see `Codec.compress`.
        progress: called during every search.

    Raises:
        ValueError: the model has one rate, or the highest quality has a lower PSNR.
    """
    files = single = _files(codec, image)
    reached = plain = _psnr_of(codec, image, files)
    start = None
    if plain(LARGEST_QUALITY) >= psnr:
        start = _last(lambda q: plain(q) >= psnr, LARGEST_QUALITY, -1)
    quality = start
    if effort:
        files = _files(codec, image, effort=effort, tune=tune, progress=progress)
        reached = _psnr_of(codec, image, files)
        first = LARGEST_QUALITY if start is None else start
        gain = reached(first) - plain(first)
        corrected = _last(lambda q: plain(q) + gain >= psnr, LARGEST_QUALITY, -1)
        quality = _edge(lambda q: reached(q) >= psnr, corrected, -1)
    if quality is None and start is not None:
        return Found(single(start), start)  # Single passes may reach it where no search does.
    if quality is None:
        raise ValueError(
            f"the image reaches {reached(LARGEST_QUALITY):.2f} dB at quality "
            f"{LARGEST_QUALITY}: the target of {psnr:g} dB is too high."
        )
    return Found(files(quality), quality)


def _files(codec: Codec, image: np.ndarray, **options: Any) -> Files:
    """Returns a cached function from a quality to its file."""
    if not codec.many_rates:
        raise ValueError(f"{codec.model_name} has one rate: it cannot aim at a size or a PSNR.")
    return functools.cache(lambda quality: codec.compress(image, quality, **options))


def _psnr_of(codec: Codec, image: np.ndarray, files: Files) -> Callable[[int], float]:
    """Returns a cached function from a quality to its PSNR."""
    reference = images.as_rgb(image)[None]

    def reached(quality: int) -> float:
        decoded = codec.decompress(files(quality), 2**62, 2**62)
        return float(metrics.psnr(reference, images.as_rgb(decoded)[None])[0])

    return functools.cache(reached)


def _highest_within(files: Files, size: int, few: bool) -> int | None:
    """Returns the highest quality with at most `size` bytes; None if there is none."""
    if len(files(0)) <= size:
        return _last(lambda q: len(files(q)) <= size, 0, LARGEST_QUALITY + 1)
    # For nearly empty images, a higher quality may take a few bytes less.
    all_qualities = range(LARGEST_QUALITY, 0, -1) if few else ()
    return next((q for q in all_qualities if len(files(q)) <= size), None)


def _last(holds: Callable[[int], bool], good: int, bad: int) -> int:
    """Returns a quality where `holds` is true and the next one towards `bad` is false."""
    while abs(good - bad) > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good


def _edge(holds: Callable[[int], bool], start: int, step: int) -> int | None:
    """Returns a quality where `holds` is true while it is false one `step` further.

    Returns None if it holds nowhere from `start` back to the other end.
    """
    qualities = range(LARGEST_QUALITY + 1)
    quality = start
    while not holds(quality):
        quality -= step
        if quality not in qualities:
            return None
    while quality + step in qualities and holds(quality + step):
        quality += step
    return quality
