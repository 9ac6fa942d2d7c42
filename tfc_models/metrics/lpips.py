"""LPIPS: weighted squared differences of deep features."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping

import numpy as np

from tfc_models.metrics.backbones import BACKBONES, Backbone
from tfc_models.metrics.lazy import tf
from tfc_models.metrics.pairs import as_float_batches
from tfc_models.metrics.record import Loaded, Metric, Weights
from tfc_models.remote import read_weights

LPIPS_VARIABLE = "TFC_MODELS_LPIPS"
TINY = 1e-10


class Lpips:
    """LPIPS 0.1 of two NHWC batches, sRGB 0 to 255; 0 at equality.

    Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a
    Perceptual Metric" (CVPR 2018). Features are normalized to unit length at every position. Their
    squared differences are weighted by channel, averaged over positions and summed over layers.

    Args:
        weights: npz file, or an https address ending in #sha256= and the digest. It holds the
            backbone under torchvision's names with the prefix "net.", and the linear layers lin0,
            lin1, … Their shapes tell squeeze, alex and vgg apart.
    """

    def __init__(self, weights: str | os.PathLike[str]) -> None:
        self.weights = read_weights(weights)
        lines = sorted((k for k in self.weights if k.startswith("lin")), key=lambda k: int(k[3:]))
        self.linear = [self.weights[k].astype(np.float32).reshape(-1) for k in lines]
        channels = tuple(len(row) for row in self.linear)
        names = [name for name, net in BACKBONES.items() if net.channels == channels]
        if not names:
            known = "; ".join(f"{n} {list(net.channels)}" for n, net in BACKBONES.items())
            raise ValueError(
                f"{weights} is not LPIPS: its linear layers have {list(channels)} inputs, "
                f"and those of known networks are {known}."
            )
        (self.name,) = names
        self.backbone: Backbone = BACKBONES[self.name]
        _check(self.backbone, self.weights, weights)

    def __call__(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """Returns one value per pair."""
        a, b = as_float_batches(a, b, self.backbone.min_side, f"LPIPS ({self.name})")
        pairs = zip(*(self.backbone.features(self.weights, batch) for batch in (a, b)))
        distance = tf.zeros([tf.shape(a)[0]])
        for row, (x, y) in zip(self.linear, pairs):
            difference = tf.square(_unit(x) - _unit(y))
            distance += tf.reduce_mean(tf.linalg.matvec(difference, row), axis=(1, 2))
        return distance


def _unit(features: tf.Tensor) -> tf.Tensor:
    """Returns features of unit length at every position; zeros stay 0, with finite gradients."""
    squares = tf.reduce_sum(tf.square(features), axis=-1, keepdims=True)
    # As in the authors' code, the small constant is added to the root.
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
    """LPIPS of two NHWC batches, sRGB 0 to 255; 0 at equality. See `Lpips`.

    Without `weights` it uses those that the environment variable TFC_MODELS_LPIPS names.
    """
    return lpips_with(weights)(a, b)


def lpips_with(weights: str | os.PathLike[str] | None = None) -> Lpips:
    """Returns LPIPS with the given weights, or those that TFC_MODELS_LPIPS names."""
    source = weights or os.environ.get(LPIPS_VARIABLE)
    if not source:
        raise ValueError(
            "LPIPS needs its weights: give their file, or https://…#sha256=…, or set "
            f"{LPIPS_VARIABLE} to it; see docs/metrics.md."
        )
    return _lpips_of(os.fspath(source))


def _load(source: str) -> Loaded:
    network = Lpips(source)
    return Loaded(network, network.backbone.min_side)


RECORDS = [
    Metric(
        name="lpips",
        title="LPIPS",
        axis_title="LPIPS",
        min_side=BACKBONES["squeeze"].min_side,
        higher_is_better=False,
        digits=4,
        in_decibels=False,
        position=60,
        function=lpips,
        weights=Weights(LPIPS_VARIABLE, _load, lpips_with),
        # Measured: see tfc_models.models.distortion.
        squared_error_per_unit=370.0,
    )
]
