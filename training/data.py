"""Crops of pictures: from a folder, a glob or a TFDS dataset to batches.

Every example is decided by the run's seed and its own number, whatever came before: a run
that was killed goes on with the very crops that it would have seen.
"""

from __future__ import annotations

import collections
import functools
import glob
import pathlib
import threading
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import logging
from PIL import Image

from tfc_models import pictures

CACHE_BYTES = 2**30  # of decoded pictures: decoding costs more than cropping
TRIES = 100


class DataError(ValueError):
    """Data that cannot be trained on; the message says why, in one line."""


def find(source: str) -> list[pathlib.Path]:
    """Picture files, sorted: of a folder and the folders in it, or of a glob."""
    folder = pathlib.Path(source).expanduser()
    if folder.is_dir():
        paths = [p for p in folder.rglob("*") if p.suffix.lower() in pictures.INPUT_SUFFIXES]
    else:
        paths = [pathlib.Path(p) for p in glob.glob(str(folder), recursive=True)]
        paths = [p for p in paths if p.is_file()]
    if not paths:
        kinds = ", ".join(sorted(s[1:] for s in pictures.INPUT_SUFFIXES))
        raise DataError(f"no pictures in {source} (a folder, a glob, or tfds:NAME; {kinds}).")
    return sorted(paths)


class Files:
    """Picture files, decoded once and kept while they fit; what cannot be used is named."""

    def __init__(self, paths: list[pathlib.Path], side: int) -> None:
        self.paths, self.side = paths, side
        self.unusable: dict[pathlib.Path, str] = {}
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
            pixels = pictures.read(path, background=(255, 255, 255)).pixels
            short = min(pixels.shape[:2])
            why = f"{short} pixels on its short side" if short < self.side else ""
        except (OSError, ValueError) as error:
            why = str(error)
        with self._lock:
            if why:
                if path not in self.unusable:
                    logging.warning("not used: %s: %s", path, why)
                self.unusable[path] = why
                return None
            self._bytes += pixels.nbytes if i not in self._kept else 0
            self._kept[i] = pixels
            while self._bytes > CACHE_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return pixels

    def example(self, number: int, seed: int) -> np.ndarray:
        """The picture of an example: every file comes once an epoch."""
        epoch, position = divmod(number, len(self))
        i = int(_order(len(self), seed, epoch)[position])
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


@functools.lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
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


def crops(
    source: str, side: int, downscale: float, seed: int, first: int = 0, stride: int = 1
) -> tf.data.Dataset:
    """uint8 crops without end: the examples `first`, `first + stride`, … of a run.

    Args:
        source: a folder, a glob, or "tfds:NAME" ("tfds:NAME:SPLIT").
        side: of a crop.
        downscale: the largest factor.
        seed: of the run.
        first: number of the first example.
        stride: one, or the number of workers that share the examples.
    """
    if source.startswith("tfds:"):
        return _tfds_crops(source, side, downscale, seed, first, stride)
    files = Files(find(source), side)

    def load(number: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng([seed, 2, int(number)])
        return crop_of(files.example(int(number), seed), side, downscale, rng)

    numbers = tf.data.Dataset.range(first, tf.int64.max, stride)
    return numbers.map(
        lambda n: tf.ensure_shape(tf.numpy_function(load, [n], tf.uint8), [side, side, 3]),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def _tfds_crops(
    source: str, side: int, downscale: float, seed: int, first: int, stride: int
) -> tf.data.Dataset:
    """As `crops`, of a dataset of tensorflow-datasets: in its own shuffled order."""
    import tensorflow_datasets as tfds

    _, name, *split = source.split(":")
    try:
        dataset = tfds.load(name, split=split[0] if split else "train")
    except (tfds.core.DatasetNotFoundError, ValueError, OSError) as error:
        raise DataError(f"{source}: {str(error).splitlines()[0]}") from None
    if "image" not in dataset.element_spec:
        raise DataError(f"{source} has no images, but {', '.join(dataset.element_spec)}.")
    dataset = dataset.map(lambda example: example["image"])
    dataset = dataset.filter(
        lambda image: (tf.shape(image)[0] >= side) & (tf.shape(image)[1] >= side)
    )
    # Without a single usable picture, repeat() would look for one forever.
    if next(iter(dataset.take(1)), None) is None:
        raise DataError(f"{source} has no pictures of {side} pixels or more on both sides.")
    dataset = dataset.shuffle(256, seed=seed, reshuffle_each_iteration=True).repeat()
    dataset = dataset.enumerate().skip(first).shard(stride, 0)

    def load(number: np.ndarray, image: np.ndarray) -> np.ndarray:
        rgb = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
        return crop_of(rgb, side, downscale, np.random.default_rng([seed, 2, int(number)]))

    return dataset.map(
        lambda n, image: tf.ensure_shape(
            tf.numpy_function(load, [n, image], tf.uint8), [side, side, 3]
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def whole(folder: str) -> Iterator[tuple[str, np.ndarray]]:
    """Names and pixels of the pictures of a folder; broken ones are named and left out."""
    for path in find(folder):
        try:
            yield path.name, pictures.read(path, background=(255, 255, 255)).pixels
        except (OSError, ValueError) as error:
            logging.warning("not used: %s: %s", path, error)
