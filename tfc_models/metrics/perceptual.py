"""The distance that was learned from videos."""

from __future__ import annotations

import functools

import tensorflow as tf

from tfc_models.metrics.pairs import checked
from tfc_models.perceptual import PIM_MIN_SIDE, Pim, load_pim


@functools.cache
def _shipped() -> Pim:
    with tf.init_scope():
        return load_pim()


def pim(a: tf.Tensor, b: tf.Tensor, model: Pim | None = None) -> tf.Tensor:
    """PIM of sRGB 0–255 NHWC batches, 0 at equality: see `tfc_models.perceptual.Pim`.

    Without a `model` the one whose weights are shipped.
    """
    a, b = checked(a, b, PIM_MIN_SIDE, "PIM")
    return (model or _shipped()).distance(a, b)
