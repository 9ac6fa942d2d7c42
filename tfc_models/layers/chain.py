"""Layers in a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from tfc_models.layers.gain import Gain
from tfc_models.layers.residual import GainedResidual


class Chain(tf.keras.layers.Layer):
    """Calls layers one after another, in whatever dtype the input has.

    Keras' Sequential fixes the dtype of its first call and casts every later input to it.
    Layers with gains are told the rate, as rows of `level_weights`. `before` holds, by the name
    of a layer, what its input passes through first.
    """

    def __init__(self, layers: list[tf.keras.layers.Layer], name: str) -> None:
        super().__init__(name=name, autocast=False)
        self.layers = layers

    def call(
        self,
        inputs: tf.Tensor,
        weights: tf.Tensor | None = None,
        before: Mapping[str, Callable[[tf.Tensor], tf.Tensor]] | None = None,
    ) -> tf.Tensor:
        for layer in self.layers:
            if before and layer.name in before:
                inputs = before[layer.name](inputs)
            gained = isinstance(layer, (Gain, GainedResidual))
            inputs = layer(inputs, weights) if gained else layer(inputs)
        return inputs
