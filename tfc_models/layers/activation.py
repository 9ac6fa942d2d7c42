"""Activations that an exact integer network can repeat bit for bit."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

LEAK = 0.125  # A power of two, so that multiplying an integer by it is exact.


@tf.custom_gradient
def leaky_relu(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """max(x, x/8)."""
    y = tf.maximum(x, tf.cast(LEAK, x.dtype) * x)
    return y, lambda upstream: _leaky_gradient(upstream, y)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _leaky_gradient(upstream: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    # One pass: TensorFlow's gradient of a maximum takes five.
    return tf.where(y < 0, tf.cast(LEAK, y.dtype), tf.cast(1.0, y.dtype)) * upstream


def relu(x: tf.Tensor) -> tf.Tensor:
    """max(x, 0)."""
    return tf.nn.relu(x)
