"""Universal quantization: dither shared by encoder and decoder, with soft rounding before it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.entropy.normal_mass import log_normal_mass
from tfc_models.entropy.parameters import (
    MEAN_BITS,
    SCALES,
    EntropyParameters,
    fractions_per_scale,
    scale_of,
)
from tfc_models.entropy.quantization import Rounding
from tfc_models.layers import CompressionLayer, Parameters

# Levels of dither: (i + 1/2)/64 − 1/2, so that their mean is that of uniform noise. Stored models
# have 16 or 64 levels, one per estimate.
LEVELS = 64
SEED_BYTES = 4
SEED_PER_ROW, SEED_PER_COLUMN = 1_000_003, 19_349_663  # odd, and far from multiples
RATE_GRADIENTS = ("pathwise", "expected")
SOFTEST = 1e-3  # α below which soft rounding is the identity; its formulas divide by zero.
SHARPEST = 15.0  # α beyond which gradients of the inverse are infinite in float32.


class UniversalQuantization(Rounding):
    """Rounding with dither: decoded latents differ from the encoder's by uniform noise.

    Agustsson, Theis, "Universally Quantized Neural Compression" (NeurIPS 2020). The decoder
    gets round(s − u) + u, where both sides draw the dither u from a seed in the file. The
    difference to s is uniform and independent of s, as it is in training.

    Before that, the residual v = y − μ is rounded softly, s = s_α(v). Afterwards v is estimated,
    r_α(z) = E[v | s_α(v) + u = z]. With α = 0 both are the identity, which is dithered
    quantization; a larger α is closer to rounding.

    The rate is that of z = s + u under the density of s_α(V) + U. The estimate r_α(z) is for the
    synthesis only.

    After freezing, u has 64 levels and r_α is a table of 64 numbers beside the integer. tfc's
    universal entropy models have 15 levels; at small scales, their coded size is a few percent
    below the bound that training optimizes.

    The seed depends on the height and width of the latents and on `nonce`, and is written to the
    file. It must not depend on the values of the latents.

    Args:
        sharpness: α at the end of training (see `anneal`).
        rate_gradient: gradient of the rate with respect to s. "pathwise" takes it at the noise
            that was drawn. "expected" takes the mean over the noise, which is the difference of
            the rate half a step above and below s.
    """

    side_streams = ("seed",)

    def __init__(self, sharpness: float = 4.0, rate_gradient: str = "pathwise") -> None:
        super().__init__("noise", "gaussian")
        if rate_gradient not in RATE_GRADIENTS:
            choices = ", ".join(RATE_GRADIENTS)
            raise ValueError(f"rate_gradient is one of {choices}; got {rate_gradient!r}.")
        if not 0.0 <= sharpness <= SHARPEST:
            raise ValueError(f"sharpness is 0 to {SHARPEST:.0f}; got {sharpness!r}.")
        self.zero_mean = False
        self.sharpness = float(sharpness)
        self.rate_gradient = rate_gradient
        self.nonce = tf.Variable(0, trainable=False, dtype=tf.int32, name="nonce")
        self.alpha = tf.Variable(self.sharpness, trainable=False, dtype=tf.float32, name="alpha")
        self._variables = Parameters([self.nonce, self.alpha], "entropy", name="settings")
        self._estimates = np.zeros(0, np.int16)

    def trainable_layers(self) -> list[CompressionLayer]:
        """Returns the layers that hold variables."""
        return [self._variables]

    def anneal(self, fraction: float) -> None:
        """Sets α, which grows from 0 over the first half of training."""
        self.alpha.assign(self.sharpness * min(2.0 * fraction, 1.0))

    def side_bits(self) -> dict[str, float]:
        """Returns the bits of the seed."""
        return {"seed": 8.0 * SEED_BYTES}

    # Training

    def synthesis_input(
        self,
        y: tf.Tensor,
        noisy: tf.Tensor | None,
        params: EntropyParameters,
    ) -> tf.Tensor:
        """See the base class."""
        if noisy is None:
            return self.quantize(y, params)
        z = self.soft_round(y - params.mean) + (noisy - y)
        return params.mean + tfc.soft_round_conditional_mean(z, self.alpha)

    def soft_round(self, values: tf.Tensor) -> tf.Tensor:
        """Returns s_α of values."""
        return tfc.soft_round(values, self.alpha)

    def noisy_bits(self, y: tf.Tensor, noisy: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class."""
        s, noise = self.soft_round(y - params.mean), noisy - y
        if self.rate_gradient == "expected":
            logarithms = self._with_expected_gradient(s, noise, params.index)
        else:
            logarithms = self._log2(s + noise, params.index)
        return -tf.reduce_sum(logarithms, axis=(1, 2, 3))

    def _with_expected_gradient(
        self, s: tf.Tensor, noise: tf.Tensor, index: tf.Tensor
    ) -> tf.Tensor:
        """Returns `_log2(s + noise, index)`, whose gradient to s is the mean over the noise."""

        @tf.custom_gradient
        def shifted(s: tf.Tensor) -> Any:
            # The gradient to the index stays that at the noise drawn.
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                above, below = (self._log2(s + half, index) for half in (0.5, -0.5))
                return upstream * (above - below)

            return tf.zeros_like(s), gradient

        return self._log2(tf.stop_gradient(s) + noise, index) + shifted(s)

    def _log2(self, z: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """Returns logarithms of the density of s_α(V) + U, which is even."""
        index = tfc.lower_bound(tfc.upper_bound(index, SCALES - 1), 0)
        lower, upper = (
            tfc.soft_round_inverse(tf.abs(z) + shift, self.alpha) for shift in (-0.5, 0.5)
        )
        inverse = 1.0 / scale_of(index)
        return log_normal_mass(lower * inverse, (upper - lower) * inverse) / math.log(2.0)

    # Integers

    def quantize(self, y: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """Returns decoded latents."""
        return self.from_symbols(self.symbols_of(y, params), params)

    def symbols_of(self, y: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class."""
        return tf.round(self.soft_round(y - params.mean) - self.offset(params.dither))

    def from_symbols(self, symbols: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class."""
        return symbols + self.estimate(params.dither) + params.mean

    def symbol_bits(self, symbols: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class."""
        return -self._log2(symbols + self.offset(params.dither), params.index)

    def estimated_bits(self, y: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class; before freezing, with the current α."""
        z = self.symbols_of(y, params) + self.offset(params.dither)
        if self._estimates.size:
            logarithms = self._density(scale_of(params.index)).log_prob(z) / math.log(2.0)
        else:
            logarithms = self._log2(z, params.index)
        return -tf.reduce_sum(logarithms, axis=(1, 2, 3))

    # Dither

    @property
    def levels(self) -> int:
        """Number of levels of the dither."""
        return len(self._estimates) or LEVELS

    def dither_for(self, shape: tf.Tensor) -> tf.Tensor:
        """Returns the level of the dither of each latent, a function of their shape."""
        return self._draw(self.seeds(shape), shape)

    def seeds(self, shape: tf.Tensor) -> tf.Tensor:
        """Returns the seed of each example, a function of the size and the nonce alone.

        The decoder reads it from the file, so that files of any other seed decode as well.
        """
        seed = shape[1] * SEED_PER_ROW + shape[2] * SEED_PER_COLUMN + self.nonce
        return tf.fill(shape[:1], seed)

    def _draw(self, seeds: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        """Returns levels of the dither for each latent of each example."""

        def one(seed: tf.Tensor) -> tf.Tensor:
            # Philox's integers are the same on every machine.
            bits = tf.random.stateless_uniform(
                shape[1:], tf.stack([seed, 0]), None, None, tf.int32, "philox"
            )
            return tf.math.floormod(bits, self.levels)

        return tf.map_fn(one, seeds, fn_output_signature=tf.int32)

    def offset(self, level: tf.Tensor) -> tf.Tensor:
        """Returns the dither u of levels."""
        return (tf.cast(level, tf.float32) + 0.5) / self.levels - 0.5

    def estimate(self, level: tf.Tensor) -> tf.Tensor:
        """Returns r_α of an integer plus the dither, less the integer."""
        if not self._estimates.size:
            return tfc.soft_round_conditional_mean(self.offset(level), self.alpha)
        return tf.gather(tf.constant(self._estimates, tf.float32), level) * 2.0**-MEAN_BITS

    def side_strings(self, shape: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns the seeds as strings of four bytes, the lowest first."""
        shifts = tf.constant([0, 8, 16, 24], tf.int32)
        seeds = self.seeds(shape)
        values = tf.bitwise.bitwise_and(tf.bitwise.right_shift(seeds[:, None], shifts), 255)
        characters = tf.constant([bytes([i]) for i in range(256)])
        return (tf.strings.reduce_join(tf.gather(characters, values), axis=1),)

    def read_dither(self, side: tuple[tf.Tensor, ...], shape: tf.Tensor) -> tf.Tensor:
        """See the base class."""
        (seeds,) = side
        whole = tf.reduce_all(tf.strings.length(seeds) == SEED_BYTES)
        check = tf.debugging.Assert(whole, ["tfc-models: damaged: its seed is no number"])
        with tf.control_dependencies([check]):
            seeds = tf.reshape(tf.io.decode_raw(seeds, tf.int32, fixed_length=SEED_BYTES), [-1])
        return self._draw(seeds, shape)

    # Coding tables

    def _fractions(self) -> np.ndarray:
        return np.minimum(fractions_per_scale(), self.levels)

    def table_prior(self) -> Any:
        """See the base class."""
        index = np.repeat(np.arange(SCALES), self._fractions())
        return self._density(scale_of(tf.constant(index, tf.float32)))

    def _density(self, scale: tf.Tensor) -> Any:
        """Returns the density of s_α(V) + U for the α at the end of training."""
        if self.sharpness < SOFTEST:
            return tfc.NoisyNormal(loc=0.0, scale=scale)
        return tfc.NoisySoftRoundedNormal(alpha=self.sharpness, loc=0.0, scale=scale)

    def table_offset(self) -> np.ndarray:
        """See the base class."""
        parts = [(np.arange(p) + 0.5) / p - 0.5 for p in self._fractions()]
        return np.concatenate(parts).astype(np.float32)

    def table_entries(self, params: EntropyParameters) -> tuple[tf.Tensor, tf.Tensor | None]:
        """See the base class."""
        parts = self._fractions()
        first = np.cumsum(parts) - parts
        index = tf.cast(params.index, tf.int32)
        part = params.dither * tf.gather(tf.constant(parts, tf.int32), index) // self.levels
        return tf.gather(tf.constant(first, tf.int32), index) + part, None

    # Freezing

    def freeze(self, state: dict[str, Any] | None) -> None:
        """Fixes α at its final value and tabulates the estimates, or takes stored ones."""
        self.alpha.assign(self.sharpness)
        if state is not None:
            self._estimates = state["estimates"]
            return
        estimates = tfc.soft_round_conditional_mean(self.offset(tf.range(LEVELS)), self.alpha)
        self._estimates = np.rint(estimates.numpy() * 2.0**MEAN_BITS).astype(np.int16)

    def state(self) -> dict[str, Any]:
        """Returns the estimates once frozen."""
        return {"estimates": self._estimates} if self._estimates.size else {}
