"""Random crops of image files. Needs only numpy and Pillow: it is copied into exported steps.

The run's seed and the number of an example determine its crop, whatever was read before. A run that
was interrupted therefore continues with the crops that would have come next.

Decoding an image takes far longer than cropping it, so several crops are taken from each decoded
image. `SLOTS` images are in use at a time, and consecutive examples come from different images, so
that batches are diverse.
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
PER_IMAGE = 8  # crops taken from an image before the next one takes its slot
SLOTS = 64  # images in use at a time; divisible by common numbers of workers
MAX_TRIES = 100  # files tried for one example

logger = logging.getLogger(__name__)


class DataError(ValueError):
    """Unusable training data; the message states the reason in one line."""


class Files:
    """Image files with a memory cache of decoded images. Logs the files that cannot be used.

    Args:
        paths: paths of the files.
        side: side of a crop in pixels.
        read: returns the pixels of a file, or raises OSError or ValueError with the reason.
        cache_bytes: memory limit for decoded images.

    Attributes:
        unusable: reasons by path.
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
        self._cached: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, i: int) -> np.ndarray | None:
        """Returns the pixels of a file, or None if it is damaged or smaller than a crop."""
        with self._lock:
            if i in self._cached:
                self._cached.move_to_end(i)
                return self._cached[i]
        path = self.paths[i]
        if path in self.unusable:
            return None
        try:
            pixels = self._read(path)
            short_side = min(pixels.shape[:2])
            reason = f"{short_side} pixels on its short side" if short_side < self.side else ""
        except (OSError, ValueError) as error:
            reason = str(error)
        with self._lock:
            if reason:
                if path not in self.unusable:
                    count = f"{len(self.unusable) + 1} of {len(self)} files"
                    logger.warning("not used: %s: %s (%s so far)", path, reason, count)
                self.unusable[path] = reason
                return None
            if isinstance(pixels, np.memmap):
                return pixels  # The operating system keeps its pages in memory.
            self._bytes += pixels.nbytes if i not in self._cached else 0
            self._cached[i] = pixels
            while self._bytes > self._cache_bytes and len(self._cached) > 1:
                self._bytes -= self._cached.popitem(last=False)[1].nbytes
        return pixels

    def example(self, number: int, seed: int) -> np.ndarray:
        """Returns the image at a position in the run's order; every file occurs once per epoch.

        An unusable file is replaced by a random one.
        """
        epoch, position = divmod(number, len(self))
        i = int(epoch_order(len(self), seed, epoch)[position])
        rng = np.random.default_rng([seed, 1, number])
        for _ in range(MAX_TRIES):
            pixels = self.image(i)
            if pixels is not None:
                return pixels
            if len(self.unusable) == len(self):
                break
            i = int(rng.integers(len(self)))
        raise DataError(
            f"no usable images: {len(self.unusable)} of {len(self)} are damaged or smaller than a "
            f"crop of {self.side}, e.g. {next(iter(self.unusable), '')}."
        )


class Crops:
    """Random crops of image files by number, several from each decoded image.

    Threads may request any numbers in any order. If numbers are requested in increasing order, an
    image is decoded once for its `per_image` crops.

    Args:
        files: the image files.
        seed: seed of the run.
        downscale: largest factor by which a crop is scaled down.
        per_image: crops taken from an image before the next one takes its slot.
    """

    def __init__(
        self, files: Files, seed: int, downscale: float, per_image: int = PER_IMAGE
    ) -> None:
        self._files, self._seed = files, seed
        self._downscale, self._per_image = downscale, per_image
        self._slots = [_Slot() for _ in range(SLOTS)]

    def crop(self, number: int) -> np.ndarray:
        """Returns the crop of an example."""
        image, numbers = image_position(number, self._per_image)
        slot = self._slots[number % SLOTS]
        with slot.lock:
            if slot.image != image:
                pixels = self._files.example(image, self._seed)
                slot.crops = {n: self._crop(pixels, n) for n in numbers}
                slot.image = image
            return slot.crops[number]

    def _crop(self, pixels: np.ndarray, number: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, 2, number])
        # A copy: a view would keep the whole image in memory.
        return np.array(random_crop(pixels, self._files.side, self._downscale, rng))


class _Slot:
    """Crops of the image in a slot."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.image = -1
        self.crops: dict[int, np.ndarray] = {}


def image_position(number: int, per_image: int) -> tuple[int, list[int]]:
    """Returns the position of an example's image in the run's order, and that image's examples.

    Example n belongs to slot n mod `SLOTS`. Slots change their images at different times, which
    distributes decoding evenly. The first image of most slots has fewer crops.
    """
    turn, slot = divmod(number, SLOTS)
    delay = slot % per_image
    count = (turn + delay) // per_image
    turns = range(count * per_image - delay, (count + 1) * per_image - delay)
    return count * SLOTS + slot, [t * SLOTS + slot for t in turns if t >= 0]


@functools.lru_cache(maxsize=4)
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Returns the order of the files in an epoch."""
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


def random_crop(
    pixels: np.ndarray, side: int, downscale: float, rng: np.random.Generator
) -> np.ndarray:
    """Returns a random crop, scaled down by a random factor and mirrored with probability 1/2."""
    height, width = pixels.shape[:2]
    # Half of the crops keep their resolution, because downscaling removes a photo's noise.
    factor = downscale ** max(rng.uniform(-1.0, 1.0), 0.0)
    size = min(round(side * factor), height, width)
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    crop = pixels[top : top + size, left : left + size]
    if size != side:
        crop = np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.BOX))
    return crop[:, ::-1] if rng.integers(2) else crop
