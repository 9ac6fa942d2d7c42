"""Residual blocks: of any layers, and with gains that tell them the rate."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfc_models.layers.activation import relu
from tfc_models.layers.compression_layer import CompressionLayer, check_layers
from tfc_models.layers.conv import Conv2D
from tfc_models.layers.gain import Gain


class Residual(CompressionLayer):
    """x + f(x), where f is a sequence of layers that may contain further residual blocks."""

    def __init__(self, layers: Sequence[CompressionLayer], name: str | None = None) -> None:
        super().__init__(name=name)
        check_layers(layers, self.name)
        self.layers = list(layers)

    @property
    def sublayers(self) -> Sequence[CompressionLayer]:
        """The layers of f."""
        return self.layers

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        maps = inputs
        for layer in self.layers:
            maps = layer(maps)
        return inputs + maps


class GainedResidual(CompressionLayer):
    """x + conv(gain(relu(conv(x)))): a nonlinear correction of what passes through.

    The second convolution starts at zero, so that the block starts as the identity and a
    chain of blocks and linear stages as a linear transform. The gains on the hidden maps
    depend on the rate: how much to sharpen or to smooth depends on how coarsely the latents
    are quantized.
    """

    takes_rate = True
    parameter_group = "blocks"

    def __init__(
        self,
        filters: int,
        hidden: int,
        levels: int,
        sizes: tuple[int, int] = (3, 3),
        *,
        kernel: str = "plain",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.filters = filters
        self.expand = Conv2D(hidden, sizes[0], activation=relu, kernel=kernel, name="expand")
        self.gain = Gain(hidden, levels, name="gain")
        self.reduce = Conv2D(filters, sizes[1], kernel=kernel, name="reduce")

    def build(self, input_shape: tf.TensorShape) -> None:
        self.expand.build(input_shape)
        self.reduce.build([None, None, None, self.expand.filters])
        zeros = {k: tf.zeros_like(v) for k, v in self.reduce.state().items()}
        self.reduce.assign_state(zeros)
        super().build(input_shape)

    @property
    def sublayers(self) -> Sequence[CompressionLayer]:
        """Both convolutions and the gain between them."""
        return self.expand, self.gain, self.reduce

    def call(self, inputs: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        return inputs + self.reduce(self.gain(self.expand(inputs), weights))
