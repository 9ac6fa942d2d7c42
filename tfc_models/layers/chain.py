"""Layers in a row."""

from __future__ import annotations

import tensorflow as tf


class Chain(tf.keras.layers.Layer):
    """Calls layers one after another, in whatever dtype the input has.

    Keras' Sequential fixes the dtype of its first call and casts every later input to it.
    """

    def __init__(self, layers: list[tf.keras.layers.Layer], name: str) -> None:
        super().__init__(name=name, autocast=False)
        self.layers = layers

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        for layer in self.layers:
            inputs = layer(inputs)
        return inputs
