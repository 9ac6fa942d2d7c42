"""Fully factorized prior with one learned density per channel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.entropy.quantization import Noise, checked_mode
from tfc_models.entropy.tables import FrozenTables, decodable
from tfc_models.layers import CompressionLayer, Conv2D, Parameters

Bits = dict[str, tf.Tensor]


class Densities(tfc.NoisyDeepFactorized):
    """Learned densities, one per channel, whose tails are found by dividing intervals.

    tfc finds them by gradient descent, in hundreds of steps.
    """

    farthest = 2.0**20
    parts, divisions = 64, 6  # The last interval is 2 · farthest / parts^divisions = 2^-15.

    def _lower_tail(self, tail_mass: float) -> tf.Tensor:
        return self._position_of(math.log(tail_mass / (2.0 - tail_mass)))

    def _upper_tail(self, tail_mass: float) -> tf.Tensor:
        return self._position_of(math.log((2.0 - tail_mass) / tail_mass))

    def _position_of(self, logit: float) -> tf.Tensor:
        """Returns where the logit of the cumulative distribution has a value."""
        fractions = tf.reshape(tf.linspace(0.0, 1.0, self.parts + 1), [-1, 1])
        low, high = tf.constant(-self.farthest), tf.constant(self.farthest)
        for _ in range(self.divisions):
            x = low + (high - low) * fractions
            below = self.base.log_cdf(x) - self.base.log_survival_function(x) < logit
            low = tf.reduce_max(tf.where(below, x, x[0]), axis=0)
            high = tf.reduce_min(tf.where(below, x[-1], x), axis=0)
        return 0.5 * (low + high)


class FactorizedPrior(FrozenTables, tfc.ContinuousBatchedEntropyModel):
    """Codes every channel under its own density (deep factorized), independent of position.

    The density is the nonparametric one of Ballé et al., "Variational image compression
    with a scale hyperprior" (ICLR 2018), appendix 6.1. Latents are rounded to integers,
    without offsets, so that they are the same on every machine.
    """

    streams = ("y",)

    def __init__(self, channels: int, quantization: str = "noise") -> None:
        super().__init__(
            prior=Densities(batch_shape=[channels]),
            coding_rank=3,
            compression=False,
            offset_heuristic=False,
            bottleneck_dtype=tf.float32,
        )
        self.quantization = checked_mode(quantization)
        self.channels = channels
        self.noise = Noise()
        self.network_dtype = tf.float32
        self.density = Parameters(self.prior.trainable_variables, "densities", name="density")

    def trainable_layers(self) -> list[CompressionLayer]:
        """Returns the layers that hold variables."""
        return [self.density]

    def layers_by_name(self) -> dict[str, Conv2D]:
        """Returns no layers: a factorized prior has no networks."""
        return {}

    def context_inputs(self) -> list[tuple[Conv2D, int]]:
        """Returns no layers: a factorized prior has no context."""
        return []

    def start_scales(self, index: np.ndarray) -> None:
        """Has no scales to set: the density starts wide enough."""

    def anneal(self, fraction: float) -> None:
        """Sets values that depend on the completed fraction of training: none."""

    def __call__(
        self, y: tf.Tensor, training: bool = False, rate: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, Bits]:
        """Quantizes (or perturbs) `y` and estimates the bits of each example."""
        if not training:
            y_hat, bits = super().__call__(y, training=False)
        else:
            self._require(frozen=False)
            y_hat = self.quantize(y)
            noisy = y_hat if self.quantization == "round" else y + self.noise(tf.shape(y))
            nats = self.prior.log_prob(noisy)
            bits = tf.reduce_sum(nats, axis=(1, 2, 3)) / -math.log(2.0)
            if self.quantization == "noise":
                y_hat = noisy
        return y_hat, {"y": bits}

    def freeze(
        self,
        state: dict[str, Any] | None = None,
        y: tf.Tensor | None = None,
        representative: bool = True,
    ) -> None:
        """Builds the coding tables, or takes stored ones; depends on no latents."""
        self._freeze_tables(state)

    def _table_prior(self) -> Any:
        return self.prior

    def compress(self, y: tf.Tensor, rate: tf.Tensor | None = None) -> tuple[tf.Tensor]:
        """Returns one string per example."""
        return self.encode(y, rate)[0]

    def encode(
        self, y: tf.Tensor, rate: tf.Tensor | None = None
    ) -> tuple[tuple[tf.Tensor], tf.Tensor]:
        """Returns the strings, and the latents that `decompress` will return."""
        self._require(frozen=True)
        return (super().compress(y),), self.quantize(y)

    def encode_symbols(
        self, symbols: tf.Tensor, z: tf.Tensor | None = None, rate: tf.Tensor | None = None
    ) -> tuple[tuple[tf.Tensor], tf.Tensor]:
        """Returns the strings of chosen integers, and the latents that `decompress` will return."""
        return self.encode(symbols, rate)

    def decompress(
        self, strings: tuple[tf.Tensor], shape: tf.Tensor, rate: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the latents, of height and width `shape`, that strings hold."""
        self._require(frozen=True)
        (stream,) = strings
        positions = tf.reduce_prod(tf.cast(shape, tf.float64))
        least = positions * float(np.sum(self.least_bits))
        stream = decodable(stream, least, positions * self.channels)
        return super().decompress(stream, shape)

    def symbols_of(self, y: tf.Tensor, params: None = None) -> tf.Tensor:
        """Returns the integers that latents are coded as."""
        return tf.round(y)

    def from_symbols(self, symbols: tf.Tensor, params: None = None) -> tf.Tensor:
        """Returns the integers, which are the latents."""
        return symbols

    def symbol_bits(self, symbols: tf.Tensor, params: None = None) -> tf.Tensor:
        """Returns differentiable bits of each integer under its channel's density."""
        return self.prior.log_prob(symbols) / -math.log(2.0)

    def decoding_groups(self, shape: tf.Tensor) -> list[tf.Tensor]:
        """Returns one mask of all latents: none predicts another."""
        return [tf.ones([1, 1, 1, 1])]

    def random_latents(self, side: int = 16) -> tf.Tensor:
        """Returns seeded draws from the coding tables, 1 × side × side × channels."""
        cdf = self.cdf.numpy()
        rows = np.split(cdf, np.flatnonzero(cdf < 0)[1:])
        rng = np.random.default_rng(0)
        # A row is the precision, then the cumulative counts from 0 on; its last symbol is
        # the escape to values beyond the table, which draws leave out.
        draws = [
            np.searchsorted(row[2:-1], rng.integers(0, row[-2], side**2), side="right")
            for row in rows
        ]
        latents = np.stack(draws, axis=-1) + self.cdf_offset.numpy()
        return tf.constant(latents.reshape(1, side, side, -1), tf.float32)

    def state(self) -> dict[str, Any]:
        """Returns the density's variables by name, and the tables once frozen."""
        state = {f"prior/{v.name.split(':')[0].split('/')[-1]}": v for v in self.prior.variables}
        return {**state, **(self._tables() if self.frozen else {})}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the variables that `state` returned."""
        for variable in self.prior.variables:
            variable.assign(state[f"prior/{variable.name.split(':')[0].split('/')[-1]}"])
