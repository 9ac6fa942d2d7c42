"""A weighted squared difference of a network's features, with weights fitted to ratings.

Chinen, Ballé, Gu, Hwang, Ioffe, Johnston, Leung, Minnen, O'Malley, Rosenberg, Toderici, "Towards
A Semantic Perceptual Image Metric" (ICIP 2018) fit such a metric on VGG-16 to 140,000 rated
pictures. Neither the ratings nor the weights were released: this is a substitute, whose weights
are those of whatever ratings it is given.
"""

from __future__ import annotations

import os
import pathlib

import numpy as np
import tensorflow as tf
from scipy import optimize

from tfc_models.metrics.backbones import BACKBONES, Backbone
from tfc_models.metrics.pairs import checked
from tfc_models.remote import read_weights, write_weights

LINE = "semantic"


class SemanticSubstitute:
    """Σ w · mean over places of (features of a − features of b)², w ≥ 0, for each channel.

    Args:
        backbone: the name of a network of `BACKBONES`, or any other `Backbone`.
        weights: its weights, a file or an address (see `read_weights`).
        line: w, one for each channel of each layer that is read, behind one another; without it
            what `save` wrote beside the weights.
    """

    def __init__(
        self,
        backbone: str | Backbone,
        weights: str | os.PathLike[str],
        line: np.ndarray | None = None,
    ) -> None:
        if isinstance(backbone, str) and backbone not in BACKBONES:
            raise ValueError(f"there is no network {backbone!r}; there are {', '.join(BACKBONES)}.")
        self.name = backbone if isinstance(backbone, str) else "of your own"
        self.backbone = BACKBONES[backbone] if isinstance(backbone, str) else backbone
        self.weights = read_weights(weights)
        line = self.weights.pop(LINE, None) if line is None else np.asarray(line)
        if line is None:
            raise ValueError(f"{weights} has no fitted weights: see SemanticSubstitute.fitted.")
        count = sum(self.backbone.channels)
        if line.shape != (count,) or not np.all(line >= 0):
            raise ValueError(f"the weights of {self.name} are {count} numbers from 0 on.")
        self.line = line.astype(np.float32)

    def __call__(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """One value for each pair of sRGB 0–255 NHWC batches, 0 at equality."""
        a, b = checked(a, b, self.backbone.least, f"this metric ({self.name})")
        return tf.linalg.matvec(_differences(self.backbone, self.weights, a, b), self.line)

    @classmethod
    def fitted(
        cls,
        backbone: str | Backbone,
        weights: str | os.PathLike[str],
        a: np.ndarray,
        b: np.ndarray,
        ratings: np.ndarray,
        ridge: float = 1e-3,
        batch: int = 8,
    ) -> SemanticSubstitute:
        """Fits the weights to ratings, larger for pairs that look less alike.

        Nonnegative least squares; `ridge` (a part of the columns' mean square) keeps weights of
        channels that say the same from growing against each other.
        """
        if not len(a) == len(b) == len(ratings) > 1:
            raise ValueError("a fit takes as many ratings as pairs, and two or more.")
        known = BACKBONES.get(backbone) if isinstance(backbone, str) else backbone
        metric = cls(backbone, weights, np.zeros(sum(known.channels) if known else 0))
        rows = [
            _differences(
                metric.backbone, metric.weights, *(tf.constant(p[i : i + batch]) for p in (a, b))
            )
            for i in range(0, len(a), batch)
        ]
        design = np.concatenate(rows).astype(np.float64)
        scale = np.sqrt(np.mean(np.square(design), axis=0)) + 1e-12
        penalty = np.sqrt(ridge * len(design)) * np.eye(len(scale))
        target = np.concatenate([np.asarray(ratings, np.float64), np.zeros(len(scale))])
        solution, _ = optimize.nnls(np.concatenate([design / scale, penalty]), target)
        metric.line = (solution / scale).astype(np.float32)
        return metric

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the backbone's weights and the fitted ones into one npz."""
        write_weights(pathlib.Path(path), {**self.weights, LINE: self.line})


def _differences(
    backbone: Backbone, weights: dict[str, np.ndarray], a: tf.Tensor, b: tf.Tensor
) -> tf.Tensor:
    """For each pair, of each channel of each layer: the mean squared difference."""
    pairs = zip(*(backbone.features(weights, batch) for batch in (a, b)))
    return tf.concat([tf.reduce_mean(tf.square(x - y), axis=(1, 2)) for x, y in pairs], -1)
