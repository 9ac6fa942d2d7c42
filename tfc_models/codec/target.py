"""Files of a given size or fidelity, by search over the quality of a model of many rates.

With an encoder effort, every trial takes as long as the search of better integers. Qualities are
therefore first tried in a single pass; one search there tells how much smaller or better its file
is; from the quality corrected by that, single steps lead to the quality that was asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfc_models import metrics, pictures
from tfc_models.codec.container import LARGEST_QUALITY

if TYPE_CHECKING:
    from tfc_models.codec.codec import Codec


SMALL = 2**16  # pixels, at which all qualities are a matter of a second or two
Files = Callable[[int], bytes]
Progress = Callable[[int, int], None]


class Found(NamedTuple):
    """A file and the quality that gave it."""

    data: bytes
    quality: int


def compress_to_bytes(
    codec: Codec,
    picture: np.ndarray,
    size: int,
    effort: int = 0,
    tune: str | None = None,
    progress: Progress | None = None,
) -> Found:
    """The file of the highest quality that takes at most `size` bytes.

    With an effort: of a quality whose file fits while that of the next quality does not.

    Args:
        codec: of a model of many rates.
        picture: see `Codec.compress`; likewise `effort`, `tune` and `progress`.
        size: in bytes.
        effort: of every file that is tried in the end.
        tune: likewise.
        progress: is called during every search.

    Raises:
        ValueError: the model has one rate, or even its lowest quality takes more.
    """
    files = plain = _files(codec, picture)
    few = picture.shape[0] * picture.shape[1] <= SMALL
    quality = start = _highest_within(plain, size, few)
    if effort:
        files = _files(codec, picture, effort=effort, tune=tune, progress=progress)
        ratio = len(files(start or 0)) / len(plain(start or 0))
        corrected = _last(lambda q: ratio * len(plain(q)) <= size, 0, LARGEST_QUALITY + 1)
        quality = _edge(lambda q: len(files(q)) <= size, corrected, 1)
    if quality is None and start is not None:
        return Found(plain(start), start)  # The single pass fits where no search does.
    if quality is None:
        least = min(len(plain(q)) for q in range(LARGEST_QUALITY + 1 if few else 1))
        least = min(least, len(files(0)))
        raise ValueError(f"the picture takes at least {least} bytes: {size} are too few.")
    return Found(files(quality), quality)


def compress_to_psnr(
    codec: Codec,
    picture: np.ndarray,
    psnr: float,
    effort: int = 0,
    tune: str | None = None,
    progress: Progress | None = None,
) -> Found:
    """The file of the lowest quality whose picture has at least `psnr` decibels.

    With an effort: of a quality that reaches them while the next lower one does not.

    Args:
        codec: of a model of many rates.
        picture: see `Codec.compress`; likewise `effort`, `tune` and `progress`.
        psnr: in decibels.
        effort: of every file that is tried in the end.
        tune: likewise.
        progress: is called during every search.

    Raises:
        ValueError: the model has one rate, or even its highest quality has less.
    """
    files = single = _files(codec, picture)
    reached = plain = _psnr_of(codec, picture, files)
    start = None
    if plain(LARGEST_QUALITY) >= psnr:
        start = _last(lambda q: plain(q) >= psnr, LARGEST_QUALITY, -1)
    quality = start
    if effort:
        files = _files(codec, picture, effort=effort, tune=tune, progress=progress)
        reached = _psnr_of(codec, picture, files)
        first = LARGEST_QUALITY if start is None else start
        gain = reached(first) - plain(first)
        corrected = _last(lambda q: plain(q) + gain >= psnr, LARGEST_QUALITY, -1)
        quality = _edge(lambda q: reached(q) >= psnr, corrected, -1)
    if quality is None and start is not None:
        return Found(single(start), start)  # The single pass reaches it where no search does.
    if quality is None:
        raise ValueError(
            f"the picture reaches {reached(LARGEST_QUALITY):.2f} dB at quality "
            f"{LARGEST_QUALITY}: {psnr:g} are too many."
        )
    return Found(files(quality), quality)


def _files(codec: Codec, picture: np.ndarray, **options: Any) -> Files:
    """The file of each quality, made once."""
    if not codec.many_rates:
        raise ValueError(f"{codec.model_name} has one rate: it cannot aim at a size or a PSNR.")
    return functools.cache(lambda quality: codec.compress(picture, quality, **options))


def _psnr_of(codec: Codec, picture: np.ndarray, files: Files) -> Callable[[int], float]:
    """Returns the PSNR of each quality, measured once."""
    reference = pictures.as_rgb(picture)[None]

    def reached(quality: int) -> float:
        decoded = codec.decompress(files(quality), 2**62, 2**62)
        return float(metrics.psnr(reference, pictures.as_rgb(decoded)[None])[0])

    return functools.cache(reached)


def _highest_within(files: Files, size: int, few: bool) -> int | None:
    """Returns the highest quality that takes at most `size` bytes; None if none does."""
    if len(files(0)) <= size:
        return _last(lambda q: len(files(q)) <= size, 0, LARGEST_QUALITY + 1)
    # A higher quality of a picture of next to nothing may take a few bytes less.
    all_qualities = range(LARGEST_QUALITY, 0, -1) if few else ()
    return next((q for q in all_qualities if len(files(q)) <= size), None)


def _last(holds: Callable[[int], bool], good: int, bad: int) -> int:
    """From `good`, where it holds, towards `bad`, where it does not: a last where it holds."""
    while abs(good - bad) > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good


def _edge(holds: Callable[[int], bool], start: int, step: int) -> int | None:
    """Walks to a quality where it holds, while one `step` further it does not.

    None if it holds nowhere from `start` back to the other end.
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
