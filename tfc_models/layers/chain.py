"""Layers in sequence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from tfc_models.layers.compression_layer import CompressionLayer, check_layers


class Chain(CompressionLayer):
    """Calls layers one after another, in the dtype of the input.

    Keras' Sequential fixes the dtype of its first call and casts every later input to it.
    Layers with `takes_rate` also receive rows of `level_weights`. `before` maps the name of a
    layer to a function that its input passes through first.
    """

    def __init__(self, layers: Sequence[CompressionLayer], name: str) -> None:
        super().__init__(name=name)
        check_layers(layers, name)
        self.layers = list(layers)
        self.filters = next((la.filters for la in reversed(self.layers) if la.filters), None)

    @property
    def sublayers(self) -> Sequence[CompressionLayer]:
        """The layers of the chain."""
        return self.layers

    def call(
        self,
        inputs: tf.Tensor,
        weights: tf.Tensor | None = None,
        before: Mapping[str, Callable[[tf.Tensor], tf.Tensor]] | None = None,
    ) -> tf.Tensor:
        """Applies the layers in order; `weights` are rows of `level_weights`."""
        for layer in self.layers:
            if before and layer.name in before:
                inputs = before[layer.name](inputs)
            inputs = layer(inputs, weights) if layer.takes_rate else layer(inputs)
        return inputs
