"""The distance that was learned from videos."""

from __future__ import annotations

import functools
import os

import tensorflow as tf

from tfc_models.metrics.pairs import checked
from tfc_models.perceptual import PIM_MIN_SIDE, Pim, load_pim
from tfc_models.perceptual.pim import WEIGHTS
from tfc_models.remote import PIM_VARIABLE, digest_of


@functools.lru_cache(maxsize=4)
def _loaded(source: str) -> Pim:
    with tf.init_scope():
        return load_pim(source)


def shipped() -> Pim:
    """The PIM that TFC_MODELS_PIM of the environment names, or else the one in the package."""
    return _loaded(_source())


def digest() -> str:
    """Of the file that `shipped` reads (see `digest_of`)."""
    return digest_of(_source())


def _source() -> str:
    return os.environ.get(PIM_VARIABLE) or str(WEIGHTS)


def pim(a: tf.Tensor, b: tf.Tensor, model: Pim | None = None) -> tf.Tensor:
    """PIM of sRGB 0–255 NHWC batches, 0 at equality: see `tfc_models.perceptual.Pim`.

    Without a `model` the one that TFC_MODELS_PIM of the environment names, or else the one whose
    weights are shipped. It takes about a gigabyte of memory for each megapixel.
    """
    a, b = checked(a, b, PIM_MIN_SIDE, "PIM")
    return (model or shipped()).distance(a, b)
