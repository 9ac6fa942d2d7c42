"""Rounding under mixtures of Gaussians, coded by binary decisions with integer probabilities."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.entropy import decisions, range_coding
from tfc_models.entropy.normal_mass import log_box_mass
from tfc_models.entropy.order import Group
from tfc_models.entropy.parameters import (
    INDEX_STEP,
    SCALES,
    EntropyParameters,
    indexes_per_latent,
    scale_of,
)
from tfc_models.entropy.quantization import Rounding
from tfc_models.layers import part_of


class MixtureRounding(Rounding):
    """Rounding to integers whose predicted distributions are mixtures of Gaussians.

    Cheng, Sun, Takeuchi, Katto, "Learned Image Compression with Discretized Gaussian Mixture
    Likelihoods and Attention Modules" (CVPR 2020).

    For each latent, `index` holds the scale indexes of its components and then their weight
    indexes, and `mean` holds their means (see `JointSlice`). Increasing a weight index by 1
    increases the logarithm of the weight by 1/8. Weights are normalized to a sum of 1.

    Args:
        components: Gaussians per latent.
        mode: replacement of rounding in training, one of `MODES`.
    """

    max_reads_per_symbol = decisions.MAX_DECISIONS

    def __init__(self, components: int, mode: str = "noise") -> None:
        if components < 2:
            raise ValueError(f"a mixture has 2 or more components; got {components}.")
        super().__init__(mode, "gaussian", around_means=False)
        self.components = components
        self._tables: decisions.MixtureTables | None = None

    # Estimates

    def noisy_bits(self, y: tf.Tensor, noisy: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class."""
        return tf.reduce_sum(self.symbol_bits(noisy, params), axis=(1, 2, 3))

    def estimated_bits(self, y: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class."""
        return self.noisy_bits(y, tf.round(y), params)

    def symbol_bits(self, symbols: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class."""
        index = tfc.lower_bound(tfc.upper_bound(params.index, SCALES - 1), 0)
        scales, weights, means = self._split(index, params.mean)
        log_masses = log_box_mass(symbols[..., None] - means, scale_of(scales))
        log_weights = tf.nn.log_softmax(weights / INDEX_STEP)
        return tf.reduce_logsumexp(log_masses + log_weights, -1) / -math.log(2.0)

    def _split(
        self, index: tf.Tensor, mean: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns scale indexes, weight indexes and means, with components in a last dimension."""
        assert mean is not None, "a mixture needs means"
        shape = tf.shape(mean)[:-1]
        count = mean.shape[-1] // self.components
        index = tf.reshape(
            index, tf.concat([shape, [count, indexes_per_latent(self.components)]], 0)
        )
        mean = tf.reshape(mean, tf.concat([shape, [count, self.components]], 0))
        return (*tf.split(index, 2, axis=-1), mean)

    # Coding

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """See the base class."""
        return decisions.decision_tables()

    def _mixtures(self, index: tf.Tensor, mean: tf.Tensor | None) -> decisions.Mixtures:
        assert self._tables is not None, "freeze() comes before coding"
        return decisions.Mixtures(self._tables, *self._split(index, mean))

    def encode(
        self,
        coder: Any,
        symbols: tf.Tensor,
        params: EntropyParameters,
        groups: Sequence[Group],
    ) -> tf.Tensor:
        """See the base class."""
        assert params.mean is not None, "a mixture needs means"
        handle = range_coding.start_encoder(coder, tf.shape(symbols)[0])
        for group in groups:
            maps = (symbols, params.index, params.mean)
            factors = (1, indexes_per_latent(self.components), self.components)
            rows = [
                group.take(m[..., _scaled_slice(group.channels, f)]) for m, f in zip(maps, factors)
            ]
            if group.ends is None:
                handle = self._write(handle, *rows)
            else:
                handle = self._write_wavefronts(handle, group.ends, rows)
        return range_coding.finish_encoder(handle)

    def _write_wavefronts(self, handle: Any, ends: tf.Tensor, rows: list[tf.Tensor]) -> Any:
        def step(i: tf.Tensor, handle: Any) -> tuple[tf.Tensor, Any]:
            return i + 1, self._write(handle, *(r[:, ends[i] : ends[i + 1]] for r in rows))

        steps = tf.size(ends) - 1
        return tf.while_loop(lambda i, _: i < steps, step, (0, handle), parallel_iterations=1)[1]

    def _write(self, handle: Any, symbols: tf.Tensor, index: tf.Tensor, mean: tf.Tensor) -> Any:
        mixtures = self._mixtures(index, mean)

        def write(handle: Any, entries: tf.Tensor, values: tf.Tensor) -> tuple[Any, tf.Tensor]:
            return range_coding.write(handle, entries, values), values

        integers = tf.cast(tf.round(symbols), tf.int64)
        return decisions.transfer_mixtures(mixtures, write, handle, integers)[0]

    def read(
        self,
        decoder: range_coding.Decoder,
        state: range_coding.State | None,
        params: EntropyParameters,
    ) -> tuple[range_coding.State, tf.Tensor]:
        """See the base class."""
        mixtures = self._mixtures(params.index, params.mean)

        def read(state: Any, entries: tf.Tensor, _: tf.Tensor) -> tuple[Any, tf.Tensor]:
            state, values = decoder.read(state, entries)
            return state, tf.cast(values, tf.int64)

        unknown = tf.zeros_like(mixtures.center)
        state, integers = decisions.transfer_mixtures(mixtures, read, state, unknown)
        return state, tf.cast(integers, tf.float32)

    # Freezing

    def freeze(self, state: dict[str, Any] | None) -> None:
        """See the base class."""
        if state is None:
            self._tables = decisions.MixtureTables.computed()
        else:
            self._tables = decisions.MixtureTables(**part_of(state, "mixture/"))

    def state(self) -> dict[str, Any]:
        """See the base class."""
        if self._tables is None:
            return {}
        return {f"mixture/{k}": v for k, v in dataclasses.asdict(self._tables).items()}


def _scaled_slice(channels: slice, factor: int) -> slice:
    """Returns the slice of parameters, `factor` per channel, for a slice of channels."""
    start, stop = channels.start, channels.stop
    return slice(start and factor * start, stop and factor * stop)
