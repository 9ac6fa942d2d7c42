"""A mean-scale hyperprior for latents that were multiplied by a gain for the rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.entropy.hyperprior import (
    ALL,
    INDEX_STEP,
    LARGEST_MEAN,
    MEAN_BITS,
    MeanScaleHyperprior,
)
from tfc_models.layers import Chain, CompressionLayer, Gain, Parameters, level_weights, rate_of_each
from tfc_models.layers.gain import LARGEST_RATE

# What a file can say: whole numbers.
RATES = int(LARGEST_RATE) + 1
GAIN_BITS = 8  # A mean's gain, in a frozen model, is a multiple of 2^-8 below 2^8.
INDEX_BITS = 4  # An index's offset is a multiple of 2^-4, as what it is added to.
LARGEST_OFFSET = 127.0


class GainedHyperprior(MeanScaleHyperprior):
    """Predicts, for latents at any rate, scale indexes and means.

    The hyperprior sees the latents as they will be coded, with the gain of their rate, so
    that its own bits go up and down with it. What it predicts is moved by a learned offset
    of the index and a gain of the mean, for every channel and level.

    A range decoder needs both exactly. `freeze` makes tables of integers for all the rates
    that a file can name; no exponential is taken afterwards. An index, a multiple of 2^-4,
    moves by another one and is rounded then; a mean, an integer times 2^-6, is multiplied by
    an integer times 2^-8, which is a single IEEE operation, and rounded to a multiple of 2^-6
    again.
    """

    # Rounding before and after the offset would cost a thousandth of the rate.
    index_bits = INDEX_BITS

    def __init__(
        self,
        hyper_analysis: Chain,
        hyper_synthesis: Chain,
        hyper_channels: int,
        latents: int,
        levels: int,
        distribution: str = "gaussian",
        quantization: str = "mixed",
    ) -> None:
        super().__init__(
            hyper_analysis, hyper_synthesis, hyper_channels, distribution, quantization
        )
        self.levels = levels
        self.hyper_gain = Gain(hyper_channels, levels, name="hyper_gain")
        self.mean_gain = Gain(latents, levels, name="mean_gain")
        # In steps of the network's output, which is what the rate of learning suits.
        self.index_offset = tf.Variable(tf.zeros([levels, latents]), name="index_offset")
        self._offset_layer = Parameters([self.index_offset], "gains", name="index_offset")
        self._rates: dict[str, np.ndarray] = {}

    def learned_layers(self) -> list[CompressionLayer]:
        """Layers that hold every learned value."""
        return [*super().learned_layers(), self.hyper_gain, self.mean_gain, self._offset_layer]

    def _hyper_latents(self, y: tf.Tensor, rate: tf.Tensor | None = None) -> tf.Tensor:
        weights = level_weights(rate_of_each(y, rate), self.levels)
        return self.hyper_gain(super()._hyper_latents(y), weights)

    def _at_rate(
        self,
        index: tf.Tensor,
        mean: tf.Tensor,
        rate: tf.Tensor | None,
        channels: slice = ALL,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        rate = rate_of_each(index, rate)
        if not self._rates:
            weights = level_weights(rate, self.levels)
            offset = INDEX_STEP * tf.matmul(weights, self.index_offset)[:, channels]
            gain = self.mean_gain.at(weights)[:, channels]
            return index + offset[:, None, None, :], mean * gain[:, None, None, :]
        rows = tf.cast(tf.round(rate), tf.int32)
        offset, gain = (
            tf.gather(tf.constant(self._rates[k][:, channels], tf.float32), rows)[:, None, None]
            for k in ("index_offset", "mean_gain")
        )
        mean = tf.round((mean * 2.0**MEAN_BITS) * gain * 2.0**-GAIN_BITS) * 2.0**-MEAN_BITS
        index = tf.round(index + offset * 2.0**-INDEX_BITS)
        return index, tf.clip_by_value(mean, -LARGEST_MEAN, LARGEST_MEAN)

    def _freeze_rates(self, state: dict[str, Any] | None) -> None:
        if state is None:
            weights = level_weights(tf.range(RATES, dtype=tf.float32), self.levels)
            offset = INDEX_STEP * tf.matmul(weights, self.index_offset).numpy()
            offset = np.rint(2.0**INDEX_BITS * np.clip(offset, -LARGEST_OFFSET, LARGEST_OFFSET))
            self._rates = {
                "index_offset": offset.astype(np.int16),
                **self._integer_gains(self.mean_gain.at(weights).numpy().astype(np.float64)),
            }
        else:
            self._rates = {k[6:]: v for k, v in state.items() if k.startswith("rates/")}

    def _integer_gains(self, gain: np.ndarray) -> dict[str, np.ndarray]:
        """Gains for all rates, and what else is made of them."""
        integers = np.clip(np.rint(2.0**GAIN_BITS * gain), 0, 2 ** (2 * GAIN_BITS) - 1)
        return {"mean_gain": integers.astype(np.uint16)}

    def state(self) -> dict[str, Any]:
        """Everything learned, as plain values, and what freezing made."""
        learned = {
            "index_offset": tf.identity(self.index_offset),
            "hyper_gain": tf.identity(self.hyper_gain.logarithm),
            "mean_gain": tf.identity(self.mean_gain.logarithm),
        }
        return {**super().state(), **learned, **{f"rates/{k}": v for k, v in self._rates.items()}}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Takes the learned values that `state` gave."""
        super().assign_state(state)
        self.index_offset.assign(state["index_offset"])
        self.hyper_gain.logarithm.assign(state["hyper_gain"])
        self.mean_gain.logarithm.assign(state["mean_gain"])
