"""Small classifiers whose weights are compressed, and their data."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.training import mnist
from tfc_models.training.mnist import LabelledImages, Splits

layers = tf.keras.layers
CLASSES = 10


def lenet300() -> tf.keras.Model:
    """Returns LeNet300-100: two hidden layers, 266,610 weights."""
    return tf.keras.Sequential(
        [
            layers.Flatten(input_shape=(28, 28, 1)),
            layers.Dense(300, activation="relu", name="hidden0"),
            layers.Dense(100, activation="relu", name="hidden1"),
            layers.Dense(CLASSES, name="head"),
        ],
        name="lenet300",
    )


def lenet5() -> tf.keras.Model:
    """Returns LeNet5 in the version of Caffe: 431,080 weights."""
    return tf.keras.Sequential(
        [
            layers.Conv2D(20, 5, input_shape=(28, 28, 1), name="conv0"),
            layers.MaxPool2D(),
            layers.Conv2D(50, 5, name="conv1"),
            layers.MaxPool2D(),
            layers.Flatten(),
            layers.Dense(500, activation="relu", name="hidden"),
            layers.Dense(CLASSES, name="head"),
        ],
        name="lenet5",
    )


def resnet() -> tf.keras.Model:
    """Returns a residual network with batch normalization for images of 8×8 pixels."""
    inputs = tf.keras.Input([8, 8, 1])
    x = layers.Conv2D(16, 3, padding="same", name="conv")(inputs)
    for i, (width, stride) in enumerate([(16, 1), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)]):
        x = _residual_block(x, width, stride, f"block{i}")
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return tf.keras.Model(inputs, layers.Dense(CLASSES, name="head")(x), name="resnet")


def _residual_block(x: tf.Tensor, width: int, stride: int, name: str) -> tf.Tensor:
    y = layers.ReLU()(layers.BatchNormalization(name=f"{name}_norm0")(x))
    skip = x
    if stride > 1 or x.shape[-1] != width:
        skip = layers.Conv2D(width, 1, stride, use_bias=False, name=f"{name}_skip")(y)
    y = layers.Conv2D(width, 3, stride, padding="same", use_bias=False, name=f"{name}_conv0")(y)
    y = layers.ReLU()(layers.BatchNormalization(name=f"{name}_norm1")(y))
    y = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_conv1")(y)
    return layers.Add(name=name)([skip, y])


def digits(source: str) -> Splits:
    """Returns the 1,797 digits of 8×8 pixels that scikit-learn ships, in three parts.

    Args:
        source: must be "sklearn".
    """
    if source != "sklearn":
        raise ValueError(f"the images of this network are those of scikit-learn; got {source}.")
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        text = "the digits are in scikit-learn: pip install 'tfc-models[train]'."
        raise ImportError(text) from None
    bunch = load_digits()
    images = (bunch.images[..., None] / 16.0).astype(np.float32)
    data = LabelledImages(images, bunch.target.astype(np.int32))
    order = np.random.default_rng(mnist.SEED).permutation(len(data.labels))
    training, validation, test = (data.part(i) for i in np.split(order, [1197, 1347]))
    return Splits(training, validation, test, "scikit-learn's digits: 1,197 / 150 / 450")


class Network(NamedTuple):
    """A classifier and the function that loads its data."""

    build: Callable[[], tf.keras.Model]
    load: Callable[[str], Splits]


NETWORKS = {
    "lenet300": Network(lenet300, mnist.load),
    "lenet5": Network(lenet5, mnist.load),
    "resnet": Network(resnet, digits),
}

PUBLISHED = {"lenet300": (8560.0, 1.9), "lenet5": (2840.0, 1.0)}
"""Bytes and error in percent of Oktay et al. (2020), for the whole MNIST."""
