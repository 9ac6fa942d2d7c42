"""Squared error, and its logarithm."""

from __future__ import annotations

import math

import tensorflow as tf

from tfc_models.metrics.pairs import compared, mean


def mse(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Mean squared error of sRGB 0–255 NHWC batches, over pixels and channels, per pair."""
    a, b = compared(a, b, 1, "MSE")
    return mean(tf.math.squared_difference, a, b, (1, 2, 3))


def psnr(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Peak signal-to-noise ratio of sRGB 0–255 NHWC batches in dB; infinite at equality.

    At equality its gradient is 0.
    """
    error = mse(a, b)
    differs = error > 0.0
    logarithm = tf.math.log(255.0**2 / tf.where(differs, error, 1.0))
    return tf.where(differs, 10.0 / math.log(10.0) * logarithm, math.inf)
