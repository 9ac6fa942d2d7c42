"""Rate adaptation: how predicted parameters and hyper-latents follow the rate of each example."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.entropy.parameters import (
    ALL_CHANNELS,
    INDEX_STEP,
    LARGEST_MEAN,
    MEAN_BITS,
    SCALES,
)
from tfc_models.layers import (
    CompressionLayer,
    Gain,
    Parameters,
    level_weights,
    part_of,
    rate_of_each,
)
from tfc_models.layers.gain import LARGEST_RATE

RATES = int(LARGEST_RATE) + 1  # A file names a whole number.
GAIN_BITS = 8  # An exact gain of a mean is a multiple of 2^-8 below 2^8.
OFFSET_BITS = 4  # An exact offset of an index is a multiple of 2^-4, as the index itself.
LARGEST_OFFSET = 127.0
INVERSE_BITS = 16  # An exact inverse gain is a multiple of 2^-16
LARGEST_INVERSE = 2**24 - 1  # and exact in float32.


class FixedRate:
    """One rate: parameters stay as predicted. Base class of rate adaptations."""

    zero_mean = True
    """Whether predictions without means are allowed."""

    indexes = SCALES
    """Number of different indexes of latents."""

    index_fraction_bits = 0
    """Bits behind the binary point of exact indexes before they are adapted."""

    def trainable_layers(self) -> list[CompressionLayer]:
        """Returns the layers that hold learned values."""
        return []

    def scale_hyper_latents(self, z: tf.Tensor, rate: tf.Tensor | None) -> tf.Tensor:
        """Returns hyper-latents as they are coded at a rate."""
        return z

    def adapt(
        self,
        index: tf.Tensor,
        mean: tf.Tensor | None,
        rate: tf.Tensor | None,
        channels: slice = ALL_CHANNELS,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns scale indexes and means of some channels at a rate."""
        return index, mean

    def normalize(
        self, y_hat: tf.Tensor, rate: tf.Tensor | None, channels: slice = ALL_CHANNELS
    ) -> tf.Tensor:
        """Returns decoded latents as context networks read them before freezing."""
        return y_hat

    def normalized_integers(
        self,
        y_hat: tf.Tensor,
        rate: tf.Tensor | None,
        unit: np.ndarray,
        channels: slice = ALL_CHANNELS,
    ) -> tf.Tensor:
        """Returns decoded latents in multiples of 1/unit, rounded, as exact networks read them."""
        return tf.round(y_hat * unit.astype(np.float32))

    def freeze(self, state: dict[str, Any] | None, invertible: bool) -> None:
        """Makes the adaptation exact.

        Args:
            state: a stored state, or None to compute integers from the learned values.
            invertible: whether context networks read latents, which needs inverse gains.
        """

    def state(self) -> dict[str, Any]:
        """Returns the learned values, and the integers once frozen."""
        return {}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the learned values that `state` returned."""


class Gains(FixedRate):
    """Learned gains and offsets per rate, for a model that also scales its latents by a gain.

    The hyper-analysis reads latents as they are coded, so the bits of hyper-latents follow the
    rate. Predicted indexes move by a learned offset and means are multiplied by a learned gain,
    for every channel and level. Contexts read latents divided by the gain of their means.

    Exact arithmetic: `freeze` computes integers for all rates that a file can name. An index, a
    multiple of 2^-4, is moved by another one and then rounded. A mean, an integer times 2^-6, is
    multiplied by an integer times 2^-8, which is one IEEE operation, and rounded to a multiple
    of 2^-6.

    Args:
        latents: number of channels of the latents.
        hyper_channels: number of channels of the hyper-latents.
        levels: number of rates with their own gains; those between are interpolated.
    """

    zero_mean = False
    # Rounding indexes before and after the offset would cost a thousandth of the rate.
    index_fraction_bits = OFFSET_BITS

    def __init__(self, latents: int, hyper_channels: int, levels: int) -> None:
        self.levels = levels
        self.hyper_gain = Gain(hyper_channels, levels, name="hyper_gain")
        self.mean_gain = Gain(latents, levels, name="mean_gain")
        # In steps of the network's output, which suits the learning rate.
        self.index_offset = tf.Variable(tf.zeros([levels, latents]), name="index_offset")
        self._offset_layer = Parameters([self.index_offset], "gains", name="index_offset")
        self.integers: dict[str, np.ndarray] = {}

    def trainable_layers(self) -> list[CompressionLayer]:
        """Returns the layers that hold learned values."""
        return [self.hyper_gain, self.mean_gain, self._offset_layer]

    def scale_hyper_latents(self, z: tf.Tensor, rate: tf.Tensor | None) -> tf.Tensor:
        """See the base class."""
        return self.hyper_gain(z, level_weights(rate_of_each(z, rate), self.levels))

    def adapt(
        self,
        index: tf.Tensor,
        mean: tf.Tensor,
        rate: tf.Tensor | None,
        channels: slice = ALL_CHANNELS,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See the base class."""
        rate = rate_of_each(index, rate)
        if not self.integers:
            weights = level_weights(rate, self.levels)
            offset = INDEX_STEP * tf.matmul(weights, self.index_offset)[:, channels]
            gain = self.mean_gain.at(weights)[:, channels]
            return index + offset[:, None, None, :], mean * gain[:, None, None, :]
        offset = self._at_rate("index_offset", rate, channels)
        gain = self._at_rate("mean_gain", rate, channels)
        mean = tf.round((mean * 2.0**MEAN_BITS) * gain * 2.0**-GAIN_BITS) * 2.0**-MEAN_BITS
        index = tf.round(index + offset * 2.0**-OFFSET_BITS)
        return index, tf.clip_by_value(mean, -LARGEST_MEAN, LARGEST_MEAN)

    def normalize(
        self, y_hat: tf.Tensor, rate: tf.Tensor | None, channels: slice = ALL_CHANNELS
    ) -> tf.Tensor:
        """See the base class."""
        gain = self.mean_gain.at(level_weights(rate_of_each(y_hat, rate), self.levels))
        return y_hat / gain[:, None, None, channels]

    def normalized_integers(
        self,
        y_hat: tf.Tensor,
        rate: tf.Tensor | None,
        unit: np.ndarray,
        channels: slice = ALL_CHANNELS,
    ) -> tf.Tensor:
        """See the base class."""
        inverse = self._at_rate("inverse_gain", rate_of_each(y_hat, rate), channels)
        # One IEEE multiplication that may round, and one by a power of two.
        return tf.round(y_hat * inverse * (unit * 2.0**-INVERSE_BITS).astype(np.float32))

    def _at_rate(self, name: str, rate: tf.Tensor, channels: slice) -> tf.Tensor:
        rows = tf.cast(tf.round(rate), tf.int32)
        values = tf.constant(self.integers[name][:, channels], tf.float32)
        return tf.gather(values, rows)[:, None, None]

    def freeze(self, state: dict[str, Any] | None, invertible: bool) -> None:
        """See the base class."""
        if state is not None:
            self.integers = part_of(state, "rates/")
            return
        weights = level_weights(tf.range(RATES, dtype=tf.float32), self.levels)
        offset = INDEX_STEP * tf.matmul(weights, self.index_offset).numpy()
        offset = np.rint(2.0**OFFSET_BITS * np.clip(offset, -LARGEST_OFFSET, LARGEST_OFFSET))
        gain = self.mean_gain.at(weights).numpy().astype(np.float64)
        gain_integers = np.clip(np.rint(2.0**GAIN_BITS * gain), 0, 2 ** (2 * GAIN_BITS) - 1)
        integers = {
            "index_offset": offset.astype(np.int16),
            "mean_gain": gain_integers.astype(np.uint16),
        }
        if invertible:
            inverse = np.rint(2.0**INVERSE_BITS / gain)
            if inverse.max() > LARGEST_INVERSE:
                raise ValueError(
                    f"a gain of means, {gain.min():.2g}, is too small for exact contexts: "
                    "training diverged; train with a lower learning rate."
                )
            integers["inverse_gain"] = inverse.astype(np.int32)
        self.integers = integers

    def state(self) -> dict[str, Any]:
        """Returns the learned values, and the integers once frozen."""
        return {
            "index_offset": tf.identity(self.index_offset),
            "hyper_gain": tf.identity(self.hyper_gain.logarithm),
            "mean_gain": tf.identity(self.mean_gain.logarithm),
            **{f"rates/{k}": v for k, v in self.integers.items()},
        }

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the learned values that `state` returned."""
        self.index_offset.assign(state["index_offset"])
        self.hyper_gain.logarithm.assign(state["hyper_gain"])
        self.mean_gain.logarithm.assign(state["mean_gain"])
