"""Normalization over the channels of each pixel."""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf

from tfc_models.layers.compression_layer import CompressionLayer

EPSILON = 1e-3


class ChannelNorm(CompressionLayer):
    """Normalizes each pixel over its channels: (x − mean) / √(variance + ε) · scale + offset.

    Mentzer, Toderici, Tschannen, Agustsson, "High-Fidelity Generative Image Compression" (NeurIPS
    2020). Unlike statistics over a whole map, those of a pixel do not depend on the image size.
    Images, crops and tiles are normalized alike. The variance is the unbiased estimate. Scale and
    offset are learned per channel. Statistics are float32 in every dtype.
    """

    def __init__(
        self,
        activation: Callable[[tf.Tensor], tf.Tensor] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.activation = activation

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates scale and offset."""
        channels = tf.TensorShape(input_shape)[-1]
        if channels < 2:
            raise ValueError(f"{self.name} needs two channels or more to normalize over.")
        self.scale = self.add_weight("scale", [channels], initializer="ones")
        self.offset = self.add_weight("offset", [channels], initializer="zeros")
        super().build(input_shape)

    def state(self) -> dict[str, tf.Tensor]:
        """Returns the learned values by name."""
        return {"scale": tf.identity(self.scale), "offset": tf.identity(self.offset)}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the values that `state` returned."""
        self.scale.assign(state["scale"])
        self.offset.assign(state["offset"])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalizes NHWC maps."""
        maps = tf.cast(inputs, tf.float32)
        channels = maps.shape[-1]
        maps -= tf.reduce_mean(maps, -1, keepdims=True)
        variance = tf.reduce_sum(tf.square(maps), -1, keepdims=True) / (channels - 1)
        maps = maps * tf.math.rsqrt(variance + EPSILON) * self.scale + self.offset
        maps = maps if self.activation is None else self.activation(maps)
        return tf.cast(maps, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "activation": tf.keras.activations.serialize(self.activation),
            "name": self.name,
        }
