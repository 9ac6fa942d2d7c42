"""Distances that were learned from videos: PIM and PIM-bands."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfc_models.metrics.pairs import checked
from tfc_models.perceptual import PIM_MIN_SIDE, BeliefModel, load_pim, load_pim_bands
from tfc_models.perceptual.pim import WEIGHTS as PIM_WEIGHTS
from tfc_models.perceptual.pim_bands import WEIGHTS as PIM_BANDS_WEIGHTS
from tfc_models.remote import PIM_BANDS_VARIABLE, PIM_VARIABLE, digest_of


class Learned(NamedTuple):
    """A metric whose weights are part of the package.

    Attributes:
        title: name in messages.
        load: returns the model of a weights file.
        weights: the file in the package.
        variable: environment variable that names another file.
    """

    title: str
    load: Callable[..., BeliefModel]
    weights: pathlib.Path
    variable: str

    @property
    def source(self) -> str:
        """The file that the environment names, or else the one in the package."""
        return os.environ.get(self.variable) or str(self.weights)


LEARNED = {
    "pim": Learned("PIM", load_pim, PIM_WEIGHTS, PIM_VARIABLE),
    "pim-bands": Learned("PIM-bands", load_pim_bands, PIM_BANDS_WEIGHTS, PIM_BANDS_VARIABLE),
}


@functools.lru_cache(maxsize=4)
def _loaded(name: str, source: str) -> BeliefModel:
    with tf.init_scope():
        return LEARNED[name].load(source)


def shipped(name: str) -> BeliefModel:
    """The model of that name that the environment names, or else the one in the package."""
    return _loaded(name, LEARNED[name].source)


def digest(name: str) -> str:
    """Digest of the file that `shipped` reads (see `digest_of`)."""
    return digest_of(LEARNED[name].source)


def pim(a: tf.Tensor, b: tf.Tensor, model: BeliefModel | None = None) -> tf.Tensor:
    """PIM of sRGB 0–255 NHWC batches, 0 at equality: see `tfc_models.perceptual.Pim`.

    Without a `model` the weights are those that TFC_MODELS_PIM of the environment names, or else
    those in the package.
    """
    return _learned("pim", a, b, model)


def pim_bands(a: tf.Tensor, b: tf.Tensor, model: BeliefModel | None = None) -> tf.Tensor:
    """PIM-bands of sRGB 0–255 NHWC batches, 0 at equality: see `tfc_models.perceptual.PimBands`.

    Without a `model` the weights are those that TFC_MODELS_PIM_BANDS of the environment names, or
    else those in the package. It takes about a gigabyte of memory for each megapixel.
    """
    return _learned("pim-bands", a, b, model)


def _learned(name: str, a: tf.Tensor, b: tf.Tensor, model: BeliefModel | None) -> tf.Tensor:
    a, b = checked(a, b, PIM_MIN_SIDE, LEARNED[name].title)
    return (model or shipped(name)).distance(a, b)
