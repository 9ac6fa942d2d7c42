"""Random crops of image files. Needs numpy and Pillow only: travels with an exported step.

The run's seed and the number of an example decide its crop, whatever was read before. A run that
was killed therefore continues with the crops that it would have seen.

Decoding an image takes far longer than cutting a crop out of it, so each decoded image gives
several crops. `SLOTS` images are in use at a time, and consecutive examples come from different
ones: batches stay diverse.
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

CACHE_BYTES = 2**30  # memory for decoded images
PER_IMAGE = 8  # crops of an image before the next one takes its slot
SLOTS = 64  # images in use at a time; divisible by common numbers of workers
TRIES = 100

logger = logging.getLogger(__name__)


class DataError(ValueError):
    """Data that cannot be trained on; the message says why, in one line."""


class Files:
    """Image files, decoded and kept in memory up to a limit. Names those that cannot be used.

    Args:
        paths: of the files.
        side: of a crop.
        read: returns the pixels of a file, or raises OSError or ValueError with the reason.
        cache_bytes: memory limit for decoded images.
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
        """Returns the pixels of a file, or None if it is damaged or smaller than a crop."""
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
            if isinstance(pixels, np.memmap):
                return pixels  # The operating system keeps its pages in memory.
            self._bytes += pixels.nbytes if i not in self._kept else 0
            self._kept[i] = pixels
            while self._bytes > self._cache_bytes and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return pixels

    def example(self, number: int, seed: int) -> np.ndarray:
        """Returns the image at a position of the run's order; every file comes once an epoch."""
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


class Crops:
    """Random crops of image files by number, cut several at a time from a decoded image.

    Threads may ask for any numbers in any order; those that ask for rising numbers decode an
    image once for its `per_image` crops.

    Args:
        files: the image files.
        seed: of the run.
        downscale: largest factor by which a crop is scaled down.
        per_image: crops of an image before the next one takes its slot.
    """

    def __init__(
        self, files: Files, seed: int, downscale: float, per_image: int = PER_IMAGE
    ) -> None:
        self._files, self._seed = files, seed
        self._downscale, self._per_image = downscale, per_image
        self._slots = [_Slot() for _ in range(SLOTS)]

    def crop(self, number: int) -> np.ndarray:
        """Returns the crop of an example."""
        image, numbers = image_of(number, self._per_image)
        slot = self._slots[number % SLOTS]
        with slot.lock:
            if slot.image != image:
                pixels = self._files.example(image, self._seed)
                slot.crops = {n: self._cut(pixels, n) for n in numbers}
                slot.image = image
            return slot.crops[number]

    def _cut(self, pixels: np.ndarray, number: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, 2, number])
        # A copy: a view would keep the whole image in memory.
        return np.array(crop_of(pixels, self._files.side, self._downscale, rng))


class _Slot:
    """Crops of the image that is in use in a slot."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.image = -1
        self.crops: dict[int, np.ndarray] = {}


def image_of(number: int, per_image: int) -> tuple[int, list[int]]:
    """Returns the position of an example's image in the run's order, and its examples' numbers.

    Example n belongs to slot n mod `SLOTS`. Slots change their images at different times, so
    that decoding is spread evenly; the first image of most slots has fewer crops.
    """
    turn, slot = divmod(number, SLOTS)
    delay = slot % per_image
    count = (turn + delay) // per_image
    turns = range(count * per_image - delay, (count + 1) * per_image - delay)
    return count * SLOTS + slot, [t * SLOTS + slot for t in turns if t >= 0]


@functools.lru_cache(maxsize=4)
def order_of(count: int, seed: int, epoch: int) -> np.ndarray:
    """Returns the order of the images in an epoch."""
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


def crop_of(
    pixels: np.ndarray, side: int, downscale: float, rng: np.random.Generator
) -> np.ndarray:
    """Returns a random crop, scaled down by a random factor, mirrored in half of the cases."""
    height, width = pixels.shape[:2]
    # Half of the crops keep their pixels: scaling down takes a photo's noise away.
    factor = downscale ** max(rng.uniform(-1.0, 1.0), 0.0)
    size = min(round(side * factor), height, width)
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    crop = pixels[top : top + size, left : left + size]
    if size != side:
        crop = np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.BOX))
    return crop[:, ::-1] if rng.integers(2) else crop
