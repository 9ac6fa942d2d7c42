"""Random crops of picture files. Needs numpy and Pillow alone: travels with an exported step.

Every example is decided by the run's seed and its own number, whatever came before: a run
that was killed goes on with the very crops that it would have seen.
"""

from __future__ import annotations

import collections
import functools
import logging
import pathlib
import threading
from collections.abc import Callable

import numpy as np
from PIL import Image

CACHE_BYTES = 2**30  # of decoded pictures: decoding costs more than cropping
TRIES = 100

logger = logging.getLogger(__name__)


class DataError(ValueError):
    """Data that cannot be trained on; the message says why, in one line."""


class Files:
    """Picture files, decoded once and kept while they fit; what cannot be used is named.

    Args:
        paths: of the files.
        side: of a crop.
        read: gives the pixels of a file, or says why not with OSError or ValueError.
        cache_bytes: for decoded pictures.
    """

    def __init__(
        self,
        paths: list[pathlib.Path],
        side: int,
        read: Callable[[pathlib.Path], np.ndarray],
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.paths, self.side = paths, side
        self.unusable: dict[pathlib.Path, str] = {}
        self._read, self._cache_bytes = read, cache_bytes
        self._kept: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.paths)

    def picture(self, i: int) -> np.ndarray | None:
        """Pixels of a file; None if it is broken, or smaller than a crop."""
        with self._lock:
            if i in self._kept:
                self._kept.move_to_end(i)
                return self._kept[i]
        path = self.paths[i]
        if path in self.unusable:
            return None
        try:
            pixels = self._read(path)
            short = min(pixels.shape[:2])
            why = f"{short} pixels on its short side" if short < self.side else ""
        except (OSError, ValueError) as error:
            why = str(error)
        with self._lock:
            if why:
                if path not in self.unusable:
                    count = f"{len(self.unusable) + 1} of {len(self)} files"
                    logger.warning("not used: %s: %s (%s so far)", path, why, count)
                self.unusable[path] = why
                return None
            self._bytes += pixels.nbytes if i not in self._kept else 0
            self._kept[i] = pixels
            while self._bytes > self._cache_bytes and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return pixels

    def example(self, number: int, seed: int) -> np.ndarray:
        """The picture of an example: every file comes once an epoch."""
        epoch, position = divmod(number, len(self))
        i = int(order_of(len(self), seed, epoch)[position])
        rng = np.random.default_rng([seed, 1, number])
        for _ in range(TRIES):
            found = self.picture(i)
            if found is not None:
                return found
            if len(self.unusable) == len(self):
                break
            i = int(rng.integers(len(self)))
        raise DataError(
            f"no usable pictures: of {len(self)}, {len(self.unusable)} are broken or smaller "
            f"than a crop of {self.side} ({next(iter(self.unusable), '')} is one)."
        )

    def crop(self, number: int, seed: int, downscale: float) -> np.ndarray:
        """The crop of an example."""
        rng = np.random.default_rng([seed, 2, number])
        return crop_of(self.example(number, seed), self.side, downscale, rng)


@functools.lru_cache(maxsize=4)
def order_of(count: int, seed: int, epoch: int) -> np.ndarray:
    """In which examples come in an epoch."""
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


def crop_of(
    pixels: np.ndarray, side: int, downscale: float, rng: np.random.Generator
) -> np.ndarray:
    """A random crop, scaled down by a random factor, flipped in half of the cases."""
    height, width = pixels.shape[:2]
    # Half of the crops keep their pixels: scaling down takes a photo's noise away.
    factor = downscale ** max(rng.uniform(-1.0, 1.0), 0.0)
    size = min(round(side * factor), height, width)
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    crop = pixels[top : top + size, left : left + size]
    if size != side:
        crop = np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.BOX))
    return crop[:, ::-1] if rng.integers(2) else crop
