"""Structural similarity over scales."""

from __future__ import annotations

import tensorflow as tf

# Five scales of an 11×11 window: the smallest map must hold one window.
MS_SSIM_MIN_SIDE = 11 * 2**4


def ms_ssim(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """MS-SSIM of sRGB 0–255 NHWC batches, 1 at equality (Wang et al. 2003; TensorFlow's)."""
    a, b = tf.cast(a, tf.float32), tf.cast(b, tf.float32)
    sides = tf.shape(a)[1:3]
    check = tf.debugging.Assert(
        tf.reduce_all(sides >= MS_SSIM_MIN_SIDE),
        [f"MS-SSIM needs at least {MS_SSIM_MIN_SIDE}×{MS_SSIM_MIN_SIDE} pixels; got", sides],
    )
    with tf.control_dependencies([check]):
        return tf.image.ssim_multiscale(tf.identity(a), b, max_val=255.0)


def decibels(similarity: tf.Tensor) -> tf.Tensor:
    """−10·log10(1 − similarity), the scale on which MS-SSIM is compared."""
    similarity = tf.convert_to_tensor(similarity, tf.float32)
    return -10.0 * tf.math.log(1.0 - similarity) / tf.math.log(10.0)
