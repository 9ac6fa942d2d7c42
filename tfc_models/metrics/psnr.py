"""Mean squared error and PSNR."""

from __future__ import annotations

import math

from tfc_models.metrics.lazy import tf
from tfc_models.metrics.pairs import check_batches, mean
from tfc_models.metrics.record import Metric


def mse(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Mean squared error of two NHWC batches, sRGB 0 to 255, over pixels and channels."""
    a, b = check_batches(a, b, 1, "MSE")
    return mean(tf.math.squared_difference, a, b, (1, 2, 3))


def psnr(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Peak signal-to-noise ratio of two NHWC batches, sRGB 0 to 255, in dB; infinite at equality.

    The gradient at equality is 0.
    """
    error = mse(a, b)
    differs = error > 0.0
    logarithm = tf.math.log(255.0**2 / tf.where(differs, error, 1.0))
    return tf.where(differs, 10.0 / math.log(10.0) * logarithm, math.inf)


RECORDS = [
    Metric(
        name="mse",
        title="MSE",
        axis_title="MSE (RGB)",
        min_side=1,
        higher_is_better=False,
        digits=2,
        in_decibels=False,
        position=10,
        function=mse,
        squared_error_per_unit=1.0,
    ),
    Metric(
        name="psnr",
        title="PSNR",
        axis_title="PSNR (RGB), dB",
        min_side=1,
        higher_is_better=True,
        digits=2,
        in_decibels=False,
        position=20,
        function=psnr,
        distance_function=mse,
    ),
]
