"""Datasets of crops of images from a folder, a glob or a TFDS dataset.

The run's seed and the number of an example determine its crop, whatever was read before. A run that
was interrupted therefore continues with the crops that would have come next.
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
from tfc_models.training.crops import CACHE_BYTES, PER_IMAGE, Crops, DataError, Files, random_crop
from tfc_models.training.pixel_cache import PixelCache


def find(source: str) -> list[pathlib.Path]:
    """Returns the sorted image files of a folder and its subfolders, or of a glob."""
    folder = pathlib.Path(source).expanduser()
    if folder.is_dir():
        paths = [p for p in folder.rglob("*") if p.suffix.lower() in images.INPUT_SUFFIXES]
    else:
        paths = [pathlib.Path(p) for p in glob.glob(str(folder), recursive=True)]
        paths = [p for p in paths if p.is_file()]
    if not paths:
        suffixes = ", ".join(sorted(s[1:] for s in images.INPUT_SUFFIXES))
        raise DataError(f"no images in {source} (a folder, a glob, or tfds:NAME; {suffixes}).")
    return sorted(paths)


def pixels_of(path: pathlib.Path) -> np.ndarray:
    """Returns the pixels of a file, composited on white if it is transparent."""
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
    """Returns an infinite dataset of uint8 crops: examples `first`, `first + stride`, … of a run.

    Args:
        source: a folder, a glob, or "tfds:NAME" ("tfds:NAME:SPLIT").
        side: side of a crop in pixels.
        downscale: largest factor by which a crop is scaled down.
        seed: seed of the run.
        first: number of the first example.
        stride: 1, or the number of workers that share the examples.
        per_image: crops taken from each decoded image; not for TFDS.
        cache: disk cache of decoded images; not for TFDS.
        memory_bytes: memory limit for decoded images.
        decode: returns the pixels of a file; not for TFDS.
    """
    if source.startswith("tfds:"):
        return _tfds_crops(source, side, downscale, seed, first, stride)
    read = functools.partial(cache.read, decode=decode) if cache else decode
    files = Files(find(source), side, read, memory_bytes)
    file_crops = Crops(files, seed, downscale, per_image)

    def load(number: np.ndarray) -> np.ndarray:
        return file_crops.crop(int(number))

    return examples(load, [side, side, 3], first, stride)


def examples(
    load: Callable[[np.ndarray], np.ndarray], shape: list[int], first: int = 0, stride: int = 1
) -> tf.data.Dataset:
    """Returns a dataset of uint8 arrays.

    Args:
        load: returns the array of an example's number.
        shape: shape of the arrays.
        first: number of the first example.
        stride: difference between consecutive numbers.
    """
    options = tf.data.Options()
    # The autotune thread delays the end of a pipeline by up to a minute.
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

    # A colon before a digit starts a version, as in coco/2017:1.1.0; any other starts a split.
    match = re.fullmatch(r"tfds:(.*?)(?::(\D.*))?", source)
    assert match is not None
    name, split = match.groups()
    try:
        dataset = tfds.load(name, split=split or "train")
    except (tfds.core.DatasetNotFoundError, ValueError, OSError) as error:
        raise DataError(f"{source}: {str(error).splitlines()[0]}") from None
    if "image" not in dataset.element_spec:
        fields = ", ".join(dataset.element_spec)
        raise DataError(f"{source} has no field `image`; its fields are {fields}.")
    dataset = dataset.map(lambda example: example["image"])
    dataset = dataset.filter(
        lambda image: (tf.shape(image)[0] >= side) & (tf.shape(image)[1] >= side)
    )
    # Without any usable image, repeat() would loop forever.
    if next(iter(dataset.take(1)), None) is None:
        raise DataError(f"{source} has no images of at least {side}×{side} pixels.")
    dataset = dataset.shuffle(256, seed=seed, reshuffle_each_iteration=True).repeat()
    dataset = dataset.enumerate().skip(first).shard(stride, 0)

    def load(number: np.ndarray, image: np.ndarray) -> np.ndarray:
        rgb = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
        return random_crop(rgb, side, downscale, np.random.default_rng([seed, 2, int(number)]))

    return dataset.map(
        lambda n, image: tf.ensure_shape(
            tf.numpy_function(load, [n, image], tf.uint8), [side, side, 3]
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def named_images(folder: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the name and pixels of each image of a folder; logs and skips damaged files."""
    for path in find(folder):
        try:
            yield path.name, pixels_of(path)
        except (OSError, ValueError) as error:
            logging.warning("not used: %s: %s", path, error)
