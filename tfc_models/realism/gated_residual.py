"""Residual block whose contribution is set by an amount from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.layers.activation import relu
from tfc_models.layers.compression_layer import CompressionLayer
from tfc_models.layers.conv import Conv2D
from tfc_models.layers.gain import LARGEST_RATE, level_weights

UNITS = 64.0  # latents are multiples of its inverse
WEYL, SCRAMBLE = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9  # odd, and irregular in binary
MIX = 0x2C1B3C6D  # odd, and irregular in binary


def openings(amount: tf.Tensor, rate: tf.Tensor, knots: int, levels: int) -> tf.Tensor:
    """Returns interpolation weights over knots of the amount and rate levels, one row per example.

    Args:
        amount: 0 (closed: all zeros) to 1, of each example.
        rate: 0 to 100, of each example.
        knots: amounts, equally spaced above 0 up to 1, at which a gate is learned.
        levels: rates at which it is.
    """
    of_amount = level_weights(amount * LARGEST_RATE, knots + 1)[:, 1:]
    both = of_amount[:, :, None] * level_weights(rate, levels)[:, None, :]
    return tf.reshape(both, [-1, knots * levels])


def latent_noise(latents: tf.Tensor, finer: int, channels: int) -> tf.Tensor:
    """Returns pseudorandom noise that is a function of the latents alone.

    Where latents carry little information, a decoder without noise can only draw repetitive
    patterns. The noise is a hash of the integer latents at each place: uniform numbers of variance
    1, at `finer` times the resolution. It does not depend on the position, so tiles and the whole
    image get the same noise.
    """
    width, count = latents.shape[-1], finer * finer * channels
    # Weyl's sequence, scrambled. Unlike NumPy's generators, it is the same in every version.
    numbers = np.arange(1, (width + 1) * count + 1, dtype=np.uint64) * np.uint64(WEYL)
    numbers = (numbers ^ (numbers >> np.uint64(29))) * np.uint64(SCRAMBLE)
    factors = (numbers >> np.uint64(32)).astype(np.uint32).view(np.int32).reshape(-1, count)
    integers = tf.cast(tf.round(tf.cast(latents, tf.float32) * UNITS), tf.int32)
    shape = tf.shape(integers)
    # Integer overflow is intended. The shift removes what is linear in the latents.
    hashed = tf.matmul(tf.reshape(integers, [-1, width]), factors[:-1]) + factors[-1]
    for shift in (15, 13):
        hashed = tf.bitwise.bitwise_xor(hashed, tf.bitwise.right_shift(hashed, shift)) * MIX
    uniform = tf.cast(hashed, tf.float32) * 2.0**-31
    maps = tf.reshape(uniform, tf.concat([shape[:3], [count]], 0)) * math.sqrt(3.0)
    return tf.nn.depth_to_space(maps, finer) if finer > 1 else maps


class GatedResidual(CompressionLayer):
    """Residual block x + conv(gate · relu(conv(x, noise))), which adds nothing where gates are 0.

    Each hidden map has a gate per knot of the amount and level of the rate, interpolated linearly
    (see `openings`). Gates start at the amount itself. The second convolution starts at zero and
    has no bias. The block is therefore the identity at first, and always at amount 0.
    """

    def __init__(
        self, filters: int, hidden: int, knots: int, levels: int, noise: int, name: str
    ) -> None:
        super().__init__(name=name)
        self.noise = noise
        self.knots, self.levels = knots, levels
        self.expand = Conv2D(hidden, 3, activation=relu, kernel="plain", name="expand")
        self.reduce = Conv2D(filters, 3, use_bias=False, kernel="plain", name="reduce")
        amounts = tf.range(1.0, knots + 1.0) / knots
        start = tf.tile(tf.repeat(amounts, levels)[:, None], [1, hidden])
        self.gate = tf.Variable(start, name="gate")

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the gates."""
        *rest, channels = input_shape
        self.expand.build([*rest, channels + self.noise])
        self.reduce.build([None, None, None, self.expand.filters])
        zeros = {k: tf.zeros_like(v) for k, v in self.reduce.state().items()}
        self.reduce.assign_state(zeros)
        super().build(input_shape)

    @property
    def sublayers(self) -> Sequence[CompressionLayer]:
        """The two convolutions."""
        return self.expand, self.reduce

    def state(self) -> dict[str, tf.Tensor]:
        """Returns the learned values by name."""
        return {**super().state(), "gate": tf.identity(self.gate)}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the values that `state` returned."""
        super().assign_state(state)
        self.gate.assign(state["gate"])

    def call(self, inputs: tf.Tensor, opening: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Adds the gated branch, given `openings` and optional noise."""
        gate = tf.cast(tf.matmul(opening, self.gate), inputs.dtype)[:, None, None, :]
        both = tf.concat([inputs, tf.cast(noise, inputs.dtype)], -1) if self.noise else inputs
        return inputs + self.reduce(self.expand(both) * gate)
