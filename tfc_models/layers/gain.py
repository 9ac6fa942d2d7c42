"""Learned gains for models of many rates."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfc_models.layers.compression_layer import CompressionLayer

LARGEST_RATE = 100.0
DEFAULT_RATE = 50.0


def rate_of_each(maps: tf.Tensor, rate: tf.Tensor | float | None) -> tf.Tensor:
    """Returns one rate per example; the default rate if `rate` is None."""
    rate = DEFAULT_RATE if rate is None else rate
    return tf.broadcast_to(tf.cast(rate, tf.float32), [tf.shape(maps)[0]])


def level_weights(rate: tf.Tensor, levels: int) -> tf.Tensor:
    """Returns interpolation weights of `levels` levels, equally spaced over 0 to 100, at a rate.

    A rate between two levels interpolates linearly between them. The result has one row per rate.
    """
    position = tf.cast(rate, tf.float32) * ((levels - 1) / LARGEST_RATE)
    distance = tf.abs(position[:, None] - tf.range(levels, dtype=tf.float32))
    return tf.maximum(1.0 - distance, 0.0)


class Gain(CompressionLayer):
    """Multiplies each channel by a learned gain that depends on the rate.

    The layer has one row of logarithms per level. Between two levels, gains are interpolated
    geometrically (Cui et al., "Asymmetric Gained Deep Image Compression With Continuous Rate
    Adaptation", CVPR 2021).
    """

    takes_rate = True
    parameter_group = "gains"

    def __init__(self, filters: int, levels: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.filters, self.levels = filters, levels
        self.logarithm = self.add_weight("logarithm", [levels, filters], initializer="zeros")

    def at(self, weights: tf.Tensor) -> tf.Tensor:
        """Returns gains, examples × channels, for rows of `level_weights`."""
        return tf.exp(tf.matmul(weights, self.logarithm))

    def state(self) -> dict[str, tf.Tensor]:
        """Returns the learned values by name."""
        return {"logarithm": tf.identity(self.logarithm)}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the values that `state` returned."""
        self.logarithm.assign(state["logarithm"])

    def call(self, inputs: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Multiplies NHWC maps by the gains for rows of `level_weights`."""
        return inputs * tf.cast(self.at(weights), inputs.dtype)[:, None, None, :]
