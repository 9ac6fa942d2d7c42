"""Tasks for compressible features: their data, networks and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.training import feature_crops, mnist
from tfc_models.training.mnist import LabelledImages

layers = tf.keras.layers
HIDDEN = 128
COSINE_SCALE = 16.0


class Task(NamedTuple):
    """Data and networks of a task.

    Attributes:
        name: of the task.
        training: images and classes for training.
        validation: images and classes for choosing settings.
        test: images and classes for reporting results.
        description: of the data and the split.
        measure: name of the accuracy.
        backbone: returns a network from images to features.
        accuracy: maps features, classes and the head to the accuracy.
    """

    name: str
    training: LabelledImages
    validation: LabelledImages
    test: LabelledImages
    description: str
    measure: str
    backbone: Callable[[], tf.keras.Model]
    accuracy: Callable[[np.ndarray, np.ndarray, tf.keras.layers.Layer], float]

    def head(self) -> tf.keras.layers.Layer:
        """Returns the classifier of features.

        For retrieval, it is a layer of cosines, as features are compared by their directions.
        """
        classes = int(self.training.labels.max()) + 1
        if self.name == "mnist":
            parts = [layers.Dense(HIDDEN, activation="relu"), layers.Dense(classes)]
        else:
            parts = [Cosines(classes)]
        return tf.keras.Sequential(parts, name="head")


class Cosines(tf.keras.layers.Layer):
    """Logits that are scaled cosines between features and a learned vector per class."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self._classes = classes

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the vectors."""
        self.vectors = self.add_weight("vectors", (input_shape[-1], self._classes))
        super().build(input_shape)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Returns the logits."""
        directions = tf.math.l2_normalize(features, -1, 1e-6)
        return COSINE_SCALE * directions @ tf.math.l2_normalize(self.vectors, 0, 1e-6)


def load(name: str, data: Sequence[str], channels: int = 64, width: int = 16) -> Task:
    """Returns a task.

    Args:
        name: mnist or retrieval.
        data: MNIST's folder or "tfds", or folders of photos.
        channels: number of features.
        width: channels of the first convolution.
    """
    if name == "mnist":
        if len(data) != 1:
            raise ValueError(f"mnist takes one folder; got {len(data)}: check --data.")
        splits = mnist.load(data[0])
        return Task(
            *("mnist", *splits, "accuracy"),
            backbone=lambda: _network([28, 28, 1], channels, (width, 2 * width), pooled=False),
            accuracy=classified,
        )
    crops = feature_crops.load(data)
    side = crops.training.images.shape[1]
    return Task(
        *("retrieval", *crops[:3], crops.description, "recall@1"),
        backbone=lambda: _network(
            [side, side, 3], channels, (width, 2 * width, 4 * width), pooled=True
        ),
        accuracy=lambda features, labels, head: recalled(features, labels),
    )


def _network(
    shape: list[int], channels: int, widths: Sequence[int], pooled: bool
) -> tf.keras.Model:
    """Returns convolutions that halve the resolution, and an affine layer."""
    network = [tf.keras.Input(shape)]
    for i, width in enumerate(widths):
        size = 3 if i else 5
        network.append(layers.Conv2D(width, size, 2, "same", activation="relu"))
    network.append(layers.GlobalAveragePooling2D() if pooled else layers.Flatten())
    return tf.keras.Sequential([*network, layers.Dense(channels)], name="backbone")


def classified(features: np.ndarray, labels: np.ndarray, head: tf.keras.layers.Layer) -> float:
    """Returns the fraction of features that the head gives their class."""
    logits = head(tf.constant(features, tf.float32)).numpy()
    return float(np.mean(logits.argmax(-1) == labels))


def recalled(features: np.ndarray, labels: np.ndarray) -> float:
    """Returns the fraction of features whose nearest other, by cosine, has the same class."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    directions = features / np.maximum(norms, 1e-9)
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -np.inf)
    # Of equally near features, quantization makes many, each is as likely.
    best = cosines >= cosines.max(axis=1, keepdims=True) - 1e-6
    same = labels[:, None] == labels[None, :]
    return float(np.mean((best & same).sum(1) / best.sum(1)))
