"""Quantization to integers, its differentiable replacement in training, and coding tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.entropy import range_coding
from tfc_models.entropy.normal_mass import log_box_mass
from tfc_models.entropy.order import Group
from tfc_models.entropy.parameters import (
    SCALES,
    EntropyParameters,
    fractions_per_scale,
    scale_of,
)
from tfc_models.layers import CompressionLayer

DISTRIBUTIONS = {"gaussian": tfc.NoisyNormal, "laplace": tfc.NoisyLaplace}
MODES = ("noise", "round", "mixed")
"""Replacements of rounding in training:

- `noise`: uniform noise, for the rate and for the synthesis (Ballé et al. 2017);
- `round`: rounding with a straight-through gradient, for both;
- `mixed`: noise for the rate, straight-through rounding for the synthesis
  (Minnen & Singh 2020).
"""


def checked_mode(mode: str) -> str:
    """Returns the mode, or raises an error that lists the modes."""
    if mode not in MODES:
        raise ValueError(f"quantization is one of {', '.join(MODES)}; got {mode!r}.")
    return mode


class Noise(tf.Module):
    """Uniform random numbers whose state is a variable.

    A checkpoint holds the state, so that a resumed run draws the same noise. A step compiled for
    another framework takes it along and draws the same numbers. TensorFlow's global seed
    determines the first state.
    """

    def __init__(self) -> None:
        super().__init__(name="noise")
        seed = tf.random.uniform([], 0, 2**31 - 1, tf.int32)
        self.generator = tf.random.Generator.from_seed(seed, alg="philox")

    def __call__(self, shape: tf.Tensor, low: float = -0.5, high: float = 0.5) -> tf.Tensor:
        """Returns float32 numbers between `low` and `high`."""
        # XLA's generator gives the same bits, but converts them to other floats.
        bits = self.generator.uniform_full_int(shape, tf.int32)
        return 0.5 * (low + high) + (high - low) * 2.0**-32 * tf.cast(bits, tf.float32)


class Rounding:
    """Rounding to integers, around the predicted means or regardless of them.

    Around means, the residual y − μ is rounded, and one table per scale is enough. Regardless of
    means, y is rounded and the mean moves the distribution instead: the decoded latents are known
    to the encoder before any parameter is, as a context in raster order requires. Tables then
    exist for every scale at several fractions of a step.

    Args:
        mode: replacement of rounding in training, one of `MODES`.
        distribution: gaussian or laplace.
        around_means: see above.
    """

    zero_mean = True
    """Whether predictions without means are allowed."""

    side_streams: tuple[str, ...] = ()
    """Names of the streams that hold side information of the quantization."""

    components = 1
    """Number of distributions that a latent's one is a mixture of."""

    max_reads_per_symbol = 1
    """Most values in a string for each latent."""

    def __init__(
        self, mode: str = "noise", distribution: str = "gaussian", around_means: bool = True
    ) -> None:
        if distribution not in DISTRIBUTIONS:
            choices = ", ".join(DISTRIBUTIONS)
            raise ValueError(f"distribution is one of {choices}; got {distribution!r}.")
        self.mode, self.distribution = checked_mode(mode), distribution
        self.around_means = around_means
        self.zero_mean = around_means
        self.prior = DISTRIBUTIONS[distribution]

    def trainable_layers(self) -> list[CompressionLayer]:
        """Returns the layers that hold variables."""
        return []

    def anneal(self, fraction: float) -> None:
        """Sets values that depend on the completed fraction of training."""

    # Training

    def synthesis_input(
        self,
        y: tf.Tensor,
        noisy: tf.Tensor | None,
        params: EntropyParameters,
    ) -> tf.Tensor:
        """Returns latents as the synthesis sees them; without noise, as a decoder has them."""
        if noisy is not None and self.mode == "noise":
            return noisy
        return self.quantize(y, params)

    def noisy_bits(self, y: tf.Tensor, noisy: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """Returns differentiable bits of each example, given latents with noise."""
        centred = noisy if params.mean is None else noisy - params.mean
        return tf.reduce_sum(self._log_loss(centred, params.index), axis=(1, 2, 3))

    def _log_loss(self, centred: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """Returns differentiable bits of each value, given its difference from the mean."""
        index = tfc.lower_bound(tfc.upper_bound(index, SCALES - 1), 0)
        if self.distribution == "gaussian":
            # As accurate as tfp's log_prob in the tails, in a fraction of the time.
            nats = log_box_mass(centred, scale_of(index))
        else:
            nats = self.prior(loc=0.0, scale=scale_of(index)).log_prob(centred)
        return nats / -math.log(2.0)

    # Integers

    def quantize(self, y: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """Returns decoded latents, with the gradient of the identity."""
        return tfc.round_st(y, params.mean if self.around_means else None)

    def step(self, params: EntropyParameters) -> tf.Tensor | float:
        """Returns the difference of decoded latents whose integers differ by 1."""
        return 1.0

    def normalized(self, y: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """Returns latents in quantization steps, relative to the origin of the integers."""
        return y if params.mean is None or not self.around_means else y - params.mean

    def symbols_of(self, y: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """Returns the integers that latents are coded as."""
        return tf.round(self.normalized(y, params))

    def from_symbols(self, symbols: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """Returns the latents that a decoder makes of integers, before any correction."""
        return symbols if params.mean is None or not self.around_means else symbols + params.mean

    def estimated_bits(self, y: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """Returns the bits of each example under entries of the table."""
        y_hat = self.quantize(y, params)
        centred = y_hat if params.mean is None else y_hat - params.mean
        nats = self.prior(loc=0.0, scale=scale_of(params.index)).log_prob(centred)
        return tf.reduce_sum(nats, axis=(1, 2, 3)) / -math.log(2.0)

    def symbol_bits(self, symbols: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """Returns differentiable bits of each integer under its predicted distribution."""
        no_shift = params.mean is None or self.around_means
        return self._log_loss(symbols if no_shift else symbols - params.mean, params.index)

    # Coding

    def encode(
        self,
        coder: Any,
        symbols: tf.Tensor,
        params: EntropyParameters,
        groups: Sequence[Group],
    ) -> tf.Tensor:
        """Returns strings of integers in the order of their groups.

        Args:
            coder: coder with the tables.
            symbols: integers of the latents.
            params: parameters of the latents.
            groups: groups of latents in the order of coding.
        """
        entries, whole = self.table_entries(params)
        values = symbols if whole is None else symbols - whole

        def in_order(maps: tf.Tensor) -> tf.Tensor:
            rows = [group.take(maps[..., group.channels]) for group in groups]
            return tf.concat([tf.reshape(r, [tf.shape(r)[0], -1]) for r in rows], 1)

        return range_coding.encode(coder, in_order(values), in_order(entries))

    def read(
        self,
        decoder: range_coding.Decoder,
        state: range_coding.State | None,
        params: EntropyParameters,
    ) -> tuple[range_coding.State, tf.Tensor]:
        """Returns the new state of a decoder and the next integers, given their parameters."""
        entries, whole = self.table_entries(params)
        state, values = decoder.read(state, entries)
        return state, values if whole is None else values + whole

    def tables(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns coding tables and their offsets; None: those of `table_prior`."""
        return None

    def table_prior(self) -> Any:
        """Returns the distributions that have tables."""
        if self.around_means:
            return self.prior(loc=0.0, scale=scale_of(tf.range(SCALES, dtype=tf.float32)))
        parts = fractions_per_scale()
        index = np.repeat(np.arange(SCALES), parts)
        fraction = np.concatenate([np.arange(p) / p for p in parts])
        scale = scale_of(tf.constant(index, tf.float32))
        return self.prior(loc=tf.constant(fraction, tf.float32), scale=scale)

    def table_offset(self) -> np.ndarray | None:
        """Returns the distance of each table's values from integers; None: zero."""
        return None

    def table_entries(self, params: EntropyParameters) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns table entries, and what to add to values coded under them (None: zero)."""
        if self.around_means:
            return params.index, None
        parts = fractions_per_scale()
        first = np.cumsum(parts) - parts
        index = tf.cast(params.index, tf.int32)
        parts = tf.gather(tf.constant(parts, tf.float32), index)
        steps = tf.round(params.mean * parts)  # Exact: by a power of two.
        whole = tf.floor(steps / parts)
        fraction = tf.cast(steps - whole * parts, tf.int32)
        return tf.gather(tf.constant(first, tf.int32), index) + fraction, whole

    # Side information

    def dither_for(self, shape: tf.Tensor) -> tf.Tensor | None:
        """Returns the dither of latents of a shape; None without dither."""
        return None

    def side_strings(self, shape: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns the streams named by `side_streams`, one string per example each."""
        return ()

    def read_dither(self, side: tuple[tf.Tensor, ...], shape: tf.Tensor) -> tf.Tensor | None:
        """Returns the dither that `side_strings` describe, for latents of that shape."""
        return None

    def side_bits(self) -> dict[str, float]:
        """Returns the bits of each of `side_streams`, per example."""
        return {}

    # Freezing

    def freeze(self, state: dict[str, Any] | None) -> None:
        """Makes values exact: computes them, or takes those of a stored state."""

    def state(self) -> dict[str, Any]:
        """Returns the exact values once frozen."""
        return {}
