"""Universal quantization: noise that encoder and decoder share, and soft rounding before it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.entropy import ordered
from tfc_models.entropy.factorized import Bits
from tfc_models.entropy.gained import GainedHyperprior
from tfc_models.entropy.hyperprior import (
    MEAN_BITS,
    SCALES,
    MeanScaleHyperprior,
    parts_of_scales,
    scale_of,
)
from tfc_models.entropy.normal_mass import log_normal_mass
from tfc_models.layers import CompressionLayer, Parameters

# Levels of dither: (i + 1/2)/64 − 1/2, so that their mean is that of uniform noise. A frozen
# model has as many as it has estimates, which some have 16 of.
LEVELS = 64
SEED_BYTES = 4
SEED_PER_ROW, SEED_PER_COLUMN = 1_000_003, 19_349_663  # odd, and far from multiples
RATE_GRADIENTS = ("pathwise", "expected")
SOFTEST = 1e-3  # Below it, rounding is not felt, and the formulas divide by zero.
SHARPEST = 15.0  # Beyond it, gradients of the inverse are infinite in float32.


class UniversalHyperprior(MeanScaleHyperprior):
    """A mean-scale hyperprior whose latents meet uniform noise in training and in use.

    Agustsson, Theis, "Universally Quantized Neural Compression" (NeurIPS 2020). Training
    stands noise in for rounding; here it stands in for nothing. What the decoder gets is
    round(s − u) + u, where encoder and decoder draw the same u from a seed in the file: the
    difference to s is uniform, and independent of s.

    Before that the residual v = y − μ is rounded softly, s = s_α(v), and afterwards v is
    estimated, r_α(z) = E[v | s_α(v) + u = z]. With α = 0 both do nothing, which is dithered
    quantization; the larger α, the more it is rounding. `sharpness` is the α that training
    ends with (see `anneal`).

    The rate is that of z = s + u under the density of s_α(V) + U; the decoder's estimate r_α(z)
    is for the synthesis only.

    Frozen, u is one of 64 levels, and r_α a table of 64 numbers beside the integer. tfc's
    universal entropy models take 15 levels: for small scales, whose bits are spent where u is
    nearly ±1/2, their coded size is a few percent less than the bound that was trained for.

    The seed is made of the latents' height and width and of `nonce`, and written to the file. It
    tells nothing of the latents' values, on which the noise must not depend.

    `rate_gradient` is how training differentiates the rate with respect to s: "pathwise" at
    the noise drawn, or "expected" over the noise. The latter is the difference of the rate half
    a step above and below s, without the variance of the noise.
    """

    parts = ("y", "z", "seed")

    def __init__(
        self, *arguments: Any, sharpness: float = 4.0, rate_gradient: str = "pathwise"
    ) -> None:
        super().__init__(*arguments)
        if rate_gradient not in RATE_GRADIENTS:
            choices = ", ".join(RATE_GRADIENTS)
            raise ValueError(f"rate_gradient is one of {choices}; got {rate_gradient!r}.")
        if not 0.0 <= sharpness <= SHARPEST:
            raise ValueError(f"sharpness is 0 to {SHARPEST:.0f}; got {sharpness!r}.")
        if self.distribution != "gaussian" or self.quantization != "noise":
            raise ValueError("universal quantization is for gaussian latents, trained with noise.")
        self.sharpness = float(sharpness)
        self.rate_gradient = rate_gradient
        self.nonce = tf.Variable(0, trainable=False, dtype=tf.int32, name="nonce")
        self.alpha = tf.Variable(self.sharpness, trainable=False, dtype=tf.float32, name="alpha")
        self._settings = Parameters([self.nonce, self.alpha], "entropy", name="settings")
        self._estimates = np.zeros(0, np.int16)

    given_levels: tf.Tensor | None = None

    def learned_layers(self) -> list[CompressionLayer]:
        """Layers that hold every learned value."""
        return [*super().learned_layers(), self._settings]

    def anneal(self, fraction: float) -> None:
        """Sets α for a moment of training: it grows from 0 over the first half."""
        self.alpha.assign(self.sharpness * min(2.0 * fraction, 1.0))

    def __call__(
        self, y: tf.Tensor, training: bool = False, rate: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, Bits]:
        """Quantizes (or perturbs) `y` and estimates the bits of each example, by part."""
        y_hat, bits = super().__call__(y, training, rate)
        return y_hat, {**bits, "seed": tf.fill([tf.shape(y)[0]], 8.0 * SEED_BYTES)}

    def _stand_in(self, y: tf.Tensor, noisy: tf.Tensor | None, mean: tf.Tensor) -> tf.Tensor:
        if noisy is None:
            return self.quantize(y, mean)
        z = self._softly(y - mean) + (noisy - y)
        return mean + tfc.soft_round_conditional_mean(z, self.alpha)

    def _softly(self, values: tf.Tensor) -> tf.Tensor:
        return tfc.soft_round(values, self.alpha)

    def _noisy_bits(
        self, y: tf.Tensor, noisy: tf.Tensor, index: tf.Tensor, mean: tf.Tensor
    ) -> tf.Tensor:
        s, noise = self._softly(y - mean), noisy - y
        if self.rate_gradient == "expected":
            logarithms = self._with_expected_gradient(s, noise, index)
        else:
            logarithms = self._log2(s + noise, index)
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
        """Logarithms of the density of s_α(V) + U, which is even."""
        index = tfc.lower_bound(tfc.upper_bound(index, SCALES - 1), 0)
        lower, upper = (
            tfc.soft_round_inverse(tf.abs(z) + shift, self.alpha) for shift in (-0.5, 0.5)
        )
        inverse = 1.0 / scale_of(index)
        return log_normal_mass(lower * inverse, (upper - lower) * inverse) / math.log(2.0)

    def quantize(self, y: tf.Tensor, mean: tf.Tensor | None = None) -> tf.Tensor:
        """What a decoder gets, with the dither of the seed that files get."""
        if mean is None:
            return super().quantize(y)
        symbols, level = self._symbols(y, mean)
        return symbols + self._estimate(level) + mean

    def _symbols(self, y: tf.Tensor, mean: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What is coded, and the levels of the dither that it was taken under."""
        level = self.dither_levels(y)
        return tf.round(self._softly(y - mean) - self._offset(level)), level

    def dither_levels(self, y: tf.Tensor) -> tf.Tensor:
        """Returns the level of each latent's dither, which the size of the latents decides.

        For a part of an image, `given_levels` holds the levels of that part.
        """
        if self.given_levels is not None:
            return self.given_levels
        return self._dither(self._seeds(y), tf.shape(y))

    def symbols_of(self, y: tf.Tensor, mean: tf.Tensor | None) -> tf.Tensor:
        """Returns the integers that latents are coded as, under the dither of their size."""
        return self._symbols(y, mean)[0]

    def from_symbols(self, symbols: tf.Tensor, mean: tf.Tensor | None) -> tf.Tensor:
        """Returns the latents that a decoder makes of integers."""
        return symbols + self._estimate(self.dither_levels(symbols)) + mean

    def symbol_bits(
        self, symbols: tf.Tensor, index: tf.Tensor, mean: tf.Tensor | None
    ) -> tf.Tensor:
        """See the base class."""
        del mean
        return -self._log2(symbols + self._offset(self.dither_levels(symbols)), index)

    def _estimated(
        self, y: tf.Tensor, index: tf.Tensor, mean: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        symbols, level = self._symbols(y, mean)
        z = symbols + self._offset(level)
        if self.frozen:
            logarithms = self._density(scale_of(index)).log_prob(z) / math.log(2.0)
        else:
            logarithms = self._log2(z, index)  # under the α of the moment
        bits = -tf.reduce_sum(logarithms, axis=(1, 2, 3))
        return symbols + self._estimate(level) + mean, bits

    @property
    def levels_of_dither(self) -> int:
        """How many there are."""
        return len(self._estimates) or LEVELS

    def _seeds(self, y: tf.Tensor) -> tf.Tensor:
        """Returns the seed of each example, a function of the size and the nonce alone.

        The decoder reads it from the file, so that files of any other seed decode as well.
        """
        shape = tf.shape(y)
        seed = shape[1] * SEED_PER_ROW + shape[2] * SEED_PER_COLUMN + self.nonce
        return tf.fill(shape[:1], seed)

    def _parts(self) -> np.ndarray:
        return np.minimum(parts_of_scales(), self.levels_of_dither)

    def _dither(self, seeds: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        """Levels, from 0 on, for each latent of each example."""

        def one(seed: tf.Tensor) -> tf.Tensor:
            # Philox's integers are the same on every machine.
            bits = tf.random.stateless_uniform(
                shape[1:], tf.stack([seed, 0]), None, None, tf.int32, "philox"
            )
            return tf.math.floormod(bits, self.levels_of_dither)

        return tf.map_fn(one, seeds, fn_output_signature=tf.int32)

    def _offset(self, level: tf.Tensor) -> tf.Tensor:
        return (tf.cast(level, tf.float32) + 0.5) / self.levels_of_dither - 0.5

    def _estimate(self, level: tf.Tensor) -> tf.Tensor:
        """r_α of the offset: what it is of an integer and the offset, less the integer."""
        if self.exact is None:
            return tfc.soft_round_conditional_mean(self._offset(level), self.alpha)
        return tf.gather(tf.constant(self._estimates, tf.float32), level) * 2.0**-MEAN_BITS

    def _freeze_rates(self, state: dict[str, Any] | None) -> None:
        super()._freeze_rates(state)
        if state is None:
            offsets = self._offset(tf.range(LEVELS))
            estimates = tfc.soft_round_conditional_mean(offsets, self.alpha).numpy()
            self._estimates = np.rint(estimates * 2.0**MEAN_BITS).astype(np.int16)
        else:
            self._estimates = state["estimates"]

    def _table_prior(self) -> Any:
        index = np.repeat(np.arange(SCALES), self._parts())
        return self._density(scale_of(tf.constant(index, tf.float32)))

    def _density(self, scale: tf.Tensor) -> Any:
        """That of s_α(V) + U, for the α that training ends with."""
        if self.sharpness < SOFTEST:
            return tfc.NoisyNormal(loc=0.0, scale=scale)
        return tfc.NoisySoftRoundedNormal(alpha=self.sharpness, loc=0.0, scale=scale)

    def _table_offset(self) -> np.ndarray:
        parts = [(np.arange(p) + 0.5) / p - 0.5 for p in self._parts()]
        return np.concatenate(parts).astype(np.float32)

    def _entries(self, index: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
        """The table's entry for scales and offsets."""
        parts = self._parts()
        first = np.cumsum(parts) - parts
        index = tf.cast(index, tf.int32)
        part = level * tf.gather(tf.constant(parts, tf.int32), index) // self.levels_of_dither
        return tf.gather(tf.constant(first, tf.int32), index) + part

    def _encoded(
        self, symbols: tf.Tensor, index: tf.Tensor, mean: tf.Tensor | None
    ) -> tuple[tf.Tensor, ...]:
        del mean
        level = self.dither_levels(symbols)
        strings = ordered.encode(self, symbols, self._entries(index, level))
        return strings, _written(self._seeds(symbols))

    def _decoded(
        self, own: list[tf.Tensor], z_hat: tf.Tensor, shape: tf.Tensor, rate: tf.Tensor | None
    ) -> tf.Tensor:
        strings, seeds = own
        whole = tf.reduce_all(tf.strings.length(seeds) == SEED_BYTES)
        check = tf.debugging.Assert(whole, ["tfc-models: damaged: its seed is no number"])
        with tf.control_dependencies([check]):
            seeds = tf.reshape(tf.io.decode_raw(seeds, tf.int32, fixed_length=SEED_BYTES), [-1])
        index, mean = self._parameters(z_hat, shape, rate)
        level = self._dither(seeds, tf.shape(index))
        decoder = ordered.Decoder(self, strings, tf.reduce_prod(tf.shape(index)[1:]))
        _, symbols = decoder.read(None, self._entries(index, level))
        return symbols + self._estimate(level) + mean

    def freeze(self, *arguments: Any, **options: Any) -> None:
        """Builds tables and integers, as other coders do, for the α that training ends with."""
        self.alpha.assign(self.sharpness)
        super().freeze(*arguments, **options)

    def state(self) -> dict[str, Any]:
        """Everything learned, as plain values, and what freezing made."""
        estimates = {"estimates": self._estimates} if self.frozen else {}
        return {**super().state(), **estimates}


def _written(seeds: tf.Tensor) -> tf.Tensor:
    """Strings of four bytes, the lowest first."""
    shifts = tf.constant([0, 8, 16, 24], tf.int32)
    values = tf.bitwise.bitwise_and(tf.bitwise.right_shift(seeds[:, None], shifts), 255)
    characters = tf.constant([bytes([i]) for i in range(256)])
    return tf.strings.reduce_join(tf.gather(characters, values), axis=1)


class GainedUniversal(UniversalHyperprior, GainedHyperprior):
    """The same for latents at any rate."""
