"""Crops of images: from a folder, a glob or a TFDS dataset to batches.

The run's seed and the number of an example decide its crop, whatever was read before. A run that
was killed therefore continues with the crops that it would have seen.
"""

from __future__ import annotations

import functools
import glob
import os
import pathlib
import re
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from tfc_models import images
from tfc_models.training.config import CodingConfig
from tfc_models.training.crops import CACHE_BYTES, PER_IMAGE, Crops, DataError, Files, crop_of
from tfc_models.training.pixel_cache import PixelCache


def find(source: str) -> list[pathlib.Path]:
    """Picture files, sorted: of a folder and the folders in it, or of a glob."""
    folder = pathlib.Path(source).expanduser()
    if folder.is_dir():
        paths = [p for p in folder.rglob("*") if p.suffix.lower() in images.INPUT_SUFFIXES]
    else:
        paths = [pathlib.Path(p) for p in glob.glob(str(folder), recursive=True)]
        paths = [p for p in paths if p.is_file()]
    if not paths:
        kinds = ", ".join(sorted(s[1:] for s in images.INPUT_SUFFIXES))
        raise DataError(f"no pictures in {source} (a folder, a glob, or tfds:NAME; {kinds}).")
    return sorted(paths)


def pixels_of(path: pathlib.Path) -> np.ndarray:
    """Returns the pixels of a file; transparent parts lie on white."""
    return images.read(path, background=(255, 255, 255)).pixels


def crops_for(
    config: CodingConfig, source: str, first: int = 0, stride: int = 1
) -> tf.data.Dataset:
    """Returns the crops of a run with the settings of its config; see `crops`."""
    cache = PixelCache.of_user(config.cache_gigabytes) if config.cache_gigabytes else None
    per_image = config.crops_per_image
    settings = config.crop, config.downscale, config.seed
    return crops(source, *settings, first, stride, per_image=per_image, cache=cache)


def crops(
    source: str,
    side: int,
    downscale: float,
    seed: int,
    first: int = 0,
    stride: int = 1,
    *,
    per_image: int = PER_IMAGE,
    cache: PixelCache | None = None,
    memory_bytes: int = CACHE_BYTES,
    decode: Callable[[pathlib.Path], np.ndarray] = pixels_of,
) -> tf.data.Dataset:
    """Returns uint8 crops without end: the examples `first`, `first + stride`, … of a run.

    Args:
        source: a folder, a glob, or "tfds:NAME" ("tfds:NAME:SPLIT").
        side: of a crop.
        downscale: the largest factor.
        seed: of the run.
        first: number of the first example.
        stride: one, or the number of workers that share the examples.
        per_image: crops of a decoded image of a folder or glob.
        cache: keeps decoded images of a folder or glob on disk.
        memory_bytes: limit for decoded images in memory.
        decode: returns the pixels of a file of a folder or glob.
    """
    if source.startswith("tfds:"):
        return _tfds_crops(source, side, downscale, seed, first, stride)
    read = functools.partial(cache.read, decode=decode) if cache else decode
    made = Crops(Files(find(source), side, read, memory_bytes), seed, downscale, per_image)

    def load(number: np.ndarray) -> np.ndarray:
        return made.crop(int(number))

    return examples(load, [side, side, 3], first, stride)


def examples(
    load: Callable[[np.ndarray], np.ndarray], shape: list[int], first: int = 0, stride: int = 1
) -> tf.data.Dataset:
    """Returns the uint8 arrays that `load` gives for the numbers `first`, `first + stride`, …"""
    options = tf.data.Options()
    # The thread that tunes parallelism delays the end of a pipeline by up to a minute.
    options.autotune.enabled = False
    numbers = tf.data.Dataset.range(first, tf.int64.max, stride).with_options(options)
    return numbers.map(
        lambda n: tf.ensure_shape(tf.numpy_function(load, [n], tf.uint8), shape),
        num_parallel_calls=os.cpu_count(),
    )


def _tfds_crops(
    source: str, side: int, downscale: float, seed: int, first: int, stride: int
) -> tf.data.Dataset:
    """Returns crops of a dataset of tensorflow-datasets, in its own shuffled order."""
    import tensorflow_datasets as tfds

    # A colon before a number begins a version, as in coco/2017:1.1.0, and any other a split.
    name, split = re.fullmatch(r"tfds:(.*?)(?::(\D.*))?", source).groups()
    try:
        dataset = tfds.load(name, split=split or "train")
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
            yield path.name, pixels_of(path)
        except (OSError, ValueError) as error:
            logging.warning("not used: %s: %s", path, error)
