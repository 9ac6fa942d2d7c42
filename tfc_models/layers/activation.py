"""Activations that an exact integer network can repeat bit for bit."""

from __future__ import annotations

import tensorflow as tf

LEAK = 0.125  # A power of two, so that multiplying an integer by it is exact.


def leaky_relu(x: tf.Tensor) -> tf.Tensor:
    """max(x, x/8)."""
    return tf.nn.leaky_relu(x, LEAK)


def relu(x: tf.Tensor) -> tf.Tensor:
    """max(x, 0)."""
    return tf.nn.relu(x)
