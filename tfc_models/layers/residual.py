"""Residual blocks: of any layers, of bottlenecks with attention, and with gains per rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfc_models.layers.activation import relu
from tfc_models.layers.chain import Chain
from tfc_models.layers.compression_layer import CompressionLayer, check_layers
from tfc_models.layers.conv import Conv2D
from tfc_models.layers.gain import Gain


class Residual(CompressionLayer):
    """s(x) + f(x), where f is a sequence of layers that may contain further residual blocks.

    Args:
        layers: f.
        name: of the block.
        skip: s, a layer that changes the shape as f does; None: the identity.
        activation: applied to the sum; None: nothing.
    """

    def __init__(
        self,
        layers: Sequence[CompressionLayer],
        name: str | None = None,
        skip: CompressionLayer | None = None,
        activation: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> None:
        super().__init__(name=name)
        check_layers(layers, self.name)
        self.layers, self.skip, self.activation = list(layers), skip, activation
        self.filters = next((la.filters for la in reversed(layers) if la.filters), None)

    @property
    def sublayers(self) -> Sequence[CompressionLayer]:
        """The layers of f, and of s."""
        return self.layers if self.skip is None else [*self.layers, self.skip]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns s(x) + f(x) of NHWC maps."""
        maps = inputs
        for layer in self.layers:
            maps = layer(maps)
        maps += inputs if self.skip is None else self.skip(inputs)
        return maps if self.activation is None else self.activation(maps)


class Attention(CompressionLayer):
    """x + trunk(x) · sigmoid(mask(x)), with local networks for trunk and mask.

    The simplified attention module of Cheng, Sun, Takeuchi, Katto, "Learned Image Compression
    with Discretized Gaussian Mixture Likelihoods and Attention Modules" (CVPR 2020). Trunk and
    mask have three bottleneck units each.
    """

    def __init__(self, filters: int, kernel: str = "plain", name: str | None = None) -> None:
        super().__init__(name=name)
        self.filters = filters

        def unit(name: str) -> Residual:
            return bottleneck(filters, kernel, name, activation=relu)

        self.trunk = Chain([unit(f"unit{i}") for i in range(3)], name="trunk")
        last = Conv2D(filters, 1, kernel="plain", name="last")
        self.mask = Chain([*(unit(f"unit{i}") for i in range(3)), last], name="mask")

    @property
    def sublayers(self) -> Sequence[CompressionLayer]:
        """Trunk and mask."""
        return self.trunk, self.mask

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Applies the module to NHWC maps."""
        return inputs + self.trunk(inputs) * tf.sigmoid(self.mask(inputs))


def bottleneck(
    filters: int,
    kernel: str,
    name: str,
    activation: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> Residual:
    """Returns x + f(x), where f is 1×1 to half of the filters, 3×3, 1×1, with ReLU between."""
    layers = [
        Conv2D(filters // 2, 1, activation=relu, kernel="plain", name="conv0"),
        Conv2D(filters // 2, 3, activation=relu, kernel=kernel, name="conv1"),
        Conv2D(filters, 1, kernel="plain", name="conv2"),
    ]
    return Residual(layers, name=name, activation=activation)


class GainedResidual(CompressionLayer):
    """Residual block x + conv(gain(relu(conv(x)))), with gains that depend on the rate.

    The second convolution starts at zero, so that the block starts as the identity and a chain of
    blocks and linear stages as a linear transform. How much to sharpen or smooth depends on how
    coarsely the latents are quantized; hence the gains on the hidden maps.
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
        """Builds both convolutions."""
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
        """Applies the block for rows of `level_weights`."""
        return inputs + self.reduce(self.gain(self.expand(inputs), weights))
