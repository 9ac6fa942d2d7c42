"""Squared error, and its logarithm."""

from __future__ import annotations

import tensorflow as tf


def mse(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Mean squared error of sRGB 0–255 NHWC batches, over pixels and channels, per pair."""
    difference = tf.cast(a, tf.float32) - tf.cast(b, tf.float32)
    return tf.reduce_mean(tf.square(difference), axis=(1, 2, 3))


def psnr(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Peak signal-to-noise ratio of sRGB 0–255 NHWC batches in dB; infinite at equality."""
    return 10.0 / tf.math.log(10.0) * (tf.math.log(255.0**2) - tf.math.log(mse(a, b)))
