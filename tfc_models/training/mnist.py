"""MNIST as arrays, from files of the IDX format or from TensorFlow Datasets."""

from __future__ import annotations

import gzip
import pathlib
from typing import NamedTuple

import numpy as np

TRAINING_FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
TEST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
TFDS = "tfds"
SEED = 0


class LabelledImages(NamedTuple):
    """Images in 0 to 1, examples × height × width × channels, and their classes."""

    images: np.ndarray
    labels: np.ndarray

    def part(self, indexes: np.ndarray) -> LabelledImages:
        """Returns some of the examples."""
        return LabelledImages(self.images[indexes], self.labels[indexes])


class Splits(NamedTuple):
    """Examples for training, for choosing settings, and for reporting results."""

    training: LabelledImages
    validation: LabelledImages
    test: LabelledImages
    description: str


def load(source: str) -> Splits:
    """Returns MNIST in three parts.

    The training set of 60,000 images is divided into 55,000 and 5,000 for validation. A folder
    that has only the test set of 10,000 images gives 7,000, 1,000 and 2,000.

    Args:
        source: a folder with the IDX files as published, or "tfds".
    """
    if source == TFDS:
        return _whole_set(_from_tfds("train"), _from_tfds("test"))
    folder = pathlib.Path(source)
    missing = [name for name in TEST_FILES if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no file {missing[0]}: name a folder with MNIST's IDX files, or {TFDS}."
        )
    test = _read_files(folder, TEST_FILES)
    if all((folder / name).is_file() for name in TRAINING_FILES):
        return _whole_set(_read_files(folder, TRAINING_FILES), test)
    training, validation, test = _divided(test, (7000, 1000, 2000))
    description = "MNIST's test set of 10,000 images: 7,000 / 1,000 / 2,000"
    return Splits(training, validation, test, description)


def _whole_set(training: LabelledImages, test: LabelledImages) -> Splits:
    training, validation = _divided(training, (55000, 5000))
    description = "MNIST: 55,000 / 5,000 / the test set of 10,000"
    return Splits(training, validation, test, description)


def _divided(data: LabelledImages, sizes: tuple[int, ...]) -> list[LabelledImages]:
    """Returns parts of the given sizes, in an order drawn with a fixed seed."""
    if len(data.labels) != sum(sizes):
        raise ValueError(f"MNIST has {sum(sizes)} images here; got {len(data.labels)}.")
    order = np.random.default_rng(SEED).permutation(len(data.labels))
    return [data.part(indexes) for indexes in np.split(order, np.cumsum(sizes)[:-1])]


def _read_files(folder: pathlib.Path, names: tuple[str, str]) -> LabelledImages:
    images, labels = (_read_idx(folder / name) for name in names)
    return LabelledImages(images[..., None].astype(np.float32) / 255.0, labels.astype(np.int32))


def _read_idx(path: pathlib.Path) -> np.ndarray:
    """Returns the array of bytes of an IDX file: two zeros, type 8, rank, sizes, values."""
    try:
        data = gzip.decompress(path.read_bytes())
        rank = data[3]
        shape = np.frombuffer(data, ">u4", rank, offset=4)
        if data[:3] != b"\0\0\x08":
            raise ValueError
        return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError):
        raise ValueError(f"{path} is not a gzip file of the IDX format, or is damaged.") from None


def _from_tfds(split: str) -> LabelledImages:
    import tensorflow_datasets as tfds

    arrays = tfds.as_numpy(tfds.load("mnist", split=split, batch_size=-1))
    return LabelledImages(
        arrays["image"].astype(np.float32) / 255.0, arrays["label"].astype(np.int32)
    )
