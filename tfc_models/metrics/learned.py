"""Distances between features of a network that was trained for something else."""

from __future__ import annotations

import functools
import io
import os
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfc_models import remote
from tfc_models.metrics.backbones import BACKBONES, Backbone
from tfc_models.metrics.pairs import checked
from tfc_models.remote import LPIPS_VARIABLE

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


def read_weights(source: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Arrays of an npz by name: a file, or an https address that ends in #sha256=….

    Raises:
        ValueError: not an npz, or not the one that the digest says.
        OSError: it cannot be read or fetched.
    """
    name = os.fspath(source)
    path = remote.fetch(name) if remote.is_address(name) else pathlib.Path(name)
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return {k: arrays[k] for k in arrays.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file of weights {path}.") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, AttributeError):
        raise ValueError(f"{path} is no file of weights (npz), or is damaged.") from None


@functools.lru_cache(maxsize=4)
def _lpips_of(weights: str) -> Lpips:
    return Lpips(weights)


def lpips(a: tf.Tensor, b: tf.Tensor, weights: str | os.PathLike[str] | None = None) -> tf.Tensor:
    """LPIPS of sRGB 0–255 NHWC batches, 0 at equality; see `Lpips`.

    Without `weights` those that the variable TFC_MODELS_LPIPS of the environment names.
    """
    source = weights or os.environ.get(LPIPS_VARIABLE)
    if not source:
        raise ValueError(
            "LPIPS needs its weights: give their file, or https://…#sha256=…, or set "
            f"{LPIPS_VARIABLE} to it; docs/metrics.md says where they are."
        )
    return _lpips_of(os.fspath(source))(a, b)
