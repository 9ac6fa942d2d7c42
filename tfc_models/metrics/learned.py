"""Distances between features of a network that was trained for something else."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfc_models.metrics.backbones import BACKBONES, Backbone
from tfc_models.metrics.pairs import checked
from tfc_models.remote import LPIPS_VARIABLE, read_weights

TINY = 1e-10


class Lpips:
    """LPIPS 0.1 of sRGB 0–255 NHWC batches, 0 at equality; call it with two of them.

    Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a
    Perceptual Metric" (CVPR 2018): features are normalized to length 1 at every place, and
    their squared differences weighted, averaged over places and added up.

    Args:
        weights: a file (npz) with the backbone as torchvision names it behind "net.", and the
            linear layers as lin0, lin1, …; or its https address, ending in #sha256= and the
            digest. Which of squeeze, alex and vgg it is shows in the shapes.
    """

    def __init__(self, weights: str | os.PathLike[str]) -> None:
        self.weights = read_weights(weights)
        lines = sorted((k for k in self.weights if k.startswith("lin")), key=lambda k: int(k[3:]))
        self.linear = [self.weights[k].astype(np.float32).reshape(-1) for k in lines]
        found = tuple(len(line) for line in self.linear)
        names = [name for name, net in BACKBONES.items() if net.channels == found]
        if not names:
            known = "; ".join(f"{n} {list(net.channels)}" for n, net in BACKBONES.items())
            raise ValueError(
                f"{weights} is not LPIPS: its linear layers have {list(found)} inputs, "
                f"and those known are {known}."
            )
        (self.name,) = names
        self.backbone: Backbone = BACKBONES[self.name]
        _check(self.backbone, self.weights, weights)

    def __call__(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """One value for each pair."""
        a, b = checked(a, b, self.backbone.least, f"LPIPS ({self.name})")
        pairs = zip(*(self.backbone.features(self.weights, batch) for batch in (a, b)))
        distance = tf.zeros([tf.shape(a)[0]])
        for line, (x, y) in zip(self.linear, pairs):
            difference = tf.square(_unit(x) - _unit(y))
            distance += tf.reduce_mean(tf.linalg.matvec(difference, line), axis=(1, 2))
        return distance


def _unit(features: tf.Tensor) -> tf.Tensor:
    """Of length 1 at every place; what is 0 stays 0, and its gradient finite."""
    squares = tf.reduce_sum(tf.square(features), axis=-1, keepdims=True)
    # As the authors', whose small constant is added to the root.
    nothing = squares == 0.0
    return features / (tf.sqrt(tf.where(nothing, 1.0, squares)) + TINY)


def _check(backbone: Backbone, weights: Mapping[str, np.ndarray], source: object) -> None:
    try:
        backbone.features(weights, tf.zeros([1, 64, 64, 3]))
    except (KeyError, ValueError, tf.errors.InvalidArgumentError) as error:
        missing = f": it has no {error}" if isinstance(error, KeyError) else ""
        raise ValueError(f"{source} does not hold the whole backbone{missing}.") from None


@functools.lru_cache(maxsize=4)
def _lpips_of(weights: str) -> Lpips:
    return Lpips(weights)


def lpips(a: tf.Tensor, b: tf.Tensor, weights: str | os.PathLike[str] | None = None) -> tf.Tensor:
    """LPIPS of sRGB 0–255 NHWC batches, 0 at equality; see `Lpips`.

    Without `weights` those that the variable TFC_MODELS_LPIPS of the environment names.
    """
    return given(weights)(a, b)


def given(weights: str | os.PathLike[str] | None = None) -> Lpips:
    """LPIPS with these weights, or those that TFC_MODELS_LPIPS of the environment names."""
    source = weights or os.environ.get(LPIPS_VARIABLE)
    if not source:
        raise ValueError(
            "LPIPS needs its weights: give their file, or https://…#sha256=…, or set "
            f"{LPIPS_VARIABLE} to it; docs/metrics.md says where they are."
        )
    return _lpips_of(os.fspath(source))
