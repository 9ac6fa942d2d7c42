"""Residual blocks: of any layers, and with gains that tell them the rate."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfc_models.layers.activation import relu
from tfc_models.layers.conv import Conv2D
from tfc_models.layers.gain import Gain


class Residual(tf.keras.layers.Layer):
    """x + f(x), where f is layers in a row, among which may be others of these."""

    def __init__(self, layers: list[tf.keras.layers.Layer], name: str | None = None) -> None:
        super().__init__(name=name, autocast=False)
        self.layers = layers

    @property
    def multiply_in_float32(self) -> bool:
        """See `tfc_models.layers.multiply`."""
        return all(layer.multiply_in_float32 for layer in self.layers)

    @multiply_in_float32.setter
    def multiply_in_float32(self, value: bool) -> None:
        for layer in self.layers:
            layer.multiply_in_float32 = value

    def freeze(self) -> None:
        """Folds the kernels."""
        for layer in self.layers:
            layer.freeze()
        self.trainable = False

    def state(self) -> dict[str, tf.Tensor]:
        """Plain values by name."""
        return {f"{la.name}/{k}": v for la in self.layers for k, v in la.state().items()}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Takes the values that `state` gave."""
        for layer in self.layers:
            prefix = f"{layer.name}/"
            layer.assign_state(
                {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        maps = inputs
        for layer in self.layers:
            maps = layer(maps)
        return inputs + maps


class GainedResidual(tf.keras.layers.Layer):
    """x + conv(gain(relu(conv(x)))): a nonlinear correction of what passes through.

    The second convolution starts at zero, so that the block starts as the identity and a
    chain of blocks and linear stages as a linear transform. The gains on the hidden maps
    depend on the rate: how much to sharpen or to smooth depends on how coarsely the latents
    are quantized.
    """

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
        super().__init__(name=name, autocast=False)
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
    def parts(self) -> dict[str, Any]:
        """The layers inside, by name."""
        return {"expand": self.expand, "gain": self.gain, "reduce": self.reduce}

    @property
    def multiply_in_float32(self) -> bool:
        """See `tfc_models.layers.multiply`."""
        return self.expand.multiply_in_float32

    @multiply_in_float32.setter
    def multiply_in_float32(self, value: bool) -> None:
        self.expand.multiply_in_float32 = self.reduce.multiply_in_float32 = value

    def freeze(self) -> None:
        """Folds the kernels."""
        for layer in self.parts.values():
            layer.freeze()
        self.trainable = False

    def state(self) -> dict[str, tf.Tensor]:
        """Plain values by name."""
        return {f"{n}/{k}": v for n, la in self.parts.items() for k, v in la.state().items()}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Takes the values that `state` gave."""
        for name, layer in self.parts.items():
            start = len(name) + 1
            layer.assign_state({k[start:]: v for k, v in state.items() if k.startswith(f"{name}/")})

    def call(self, inputs: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        return inputs + self.reduce(self.gain(self.expand(inputs), weights))
