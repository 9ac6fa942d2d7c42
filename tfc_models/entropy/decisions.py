"""Range coding of integers by binary decisions, each under an exact probability.

A table for every mixture of Gaussians is impossible: a mixture has too many parameters. Instead an
integer is found by bisection. Each step asks whether it is in the upper half of an interval, and
codes the answer under one of 4095 tables of two symbols. The probability is a ratio of integers, so
that every machine computes the same one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.entropy.parameters import INDEX_STEP, MEAN_BITS, SCALES, scale_of

MEAN_UNITS = 2**MEAN_BITS
PROBABILITY_BITS = 12
CERTAIN_TABLE = 2**PROBABILITY_BITS - 1  # index of a table of one symbol, which takes 0 bits
ESCAPE_TABLE = CERTAIN_TABLE + 1  # index of a table for integers outside of the first interval
WEIGHT_BITS = 10
INVERSE_BITS = 16
CDF_BITS = 20
# The normal distribution function is tabulated at multiples of 2^-6 from -8 to 8, and interpolated
# at multiples of 2^-12.
NODE_BITS, FRACTION_BITS, CDF_REACH = 6, 6, 8
DEVIATIONS = 4  # The first interval reaches at least this many scales beyond every mean.
MOST_LEVELS = 17
MAX_DECISIONS = MOST_LEVELS + 2  # halvings, the escape flag and the escaped value

Transfer = Callable[[Any, tf.Tensor, tf.Tensor], tuple[Any, tf.Tensor]]
"""Codes values (state, table indexes, known values) and returns the new state and the values."""


def decision_tables() -> tuple[np.ndarray, np.ndarray]:
    """Returns tables in the format of tfc's range coder, and their offsets.

    In table k − 1, symbol 0 has the probability k / 4096, and symbol 1 has the rest.
    """
    total = 2**PROBABILITY_BITS
    pairs = [[PROBABILITY_BITS, 0, k, total] for k in range(1, total)]
    # A negative precision allows values beyond the table, as Elias gamma codes.
    rows = [*pairs, [PROBABILITY_BITS, 0, total], [-PROBABILITY_BITS, 0, 1, total]]
    return np.concatenate(rows).astype(np.int32), np.zeros(len(rows), np.int32)


@dataclasses.dataclass(frozen=True)
class MixtureTables:
    """Integers that the distribution functions of mixtures are computed from.

    Attributes:
        cdf: the normal distribution function, in multiples of 2^-CDF_BITS.
        weights: weight of each weight index; the largest index has 2^WEIGHT_BITS.
        inverse_scales: inverse of the scale of each scale index, in multiples of 2^-INVERSE_BITS.
        reach: half the width of the first interval around a mean, for each scale index.
    """

    cdf: np.ndarray
    weights: np.ndarray
    inverse_scales: np.ndarray
    reach: np.ndarray

    @classmethod
    def computed(cls) -> MixtureTables:
        """Returns tables computed in floating point, which weights files then store."""
        nodes = np.arange(-(CDF_REACH << NODE_BITS), (CDF_REACH << NODE_BITS) + 2)
        deviations = tf.constant(nodes * 2.0**-NODE_BITS, tf.float64)
        cdf = 0.5 * tf.math.erfc(-math.sqrt(0.5) * deviations).numpy()
        scale = scale_of(tf.range(SCALES, dtype=tf.float64)).numpy()
        weights = np.exp((np.arange(SCALES) - SCALES + 1) / INDEX_STEP)
        return cls(
            np.rint(2.0**CDF_BITS * cdf).astype(np.int32),
            np.maximum(np.rint(2.0**WEIGHT_BITS * weights), 1).astype(np.int32),
            np.rint(2.0**INVERSE_BITS / scale).astype(np.int32),
            np.ceil(DEVIATIONS * scale).astype(np.int32) + 1,
        )


class Mixtures:
    """Exact mixtures of Gaussians, one per integer to be coded.

    Args:
        tables: integers of the distribution functions.
        scales: scale indexes, with the components in the last dimension.
        weights: indexes of the components' weights, likewise.
        means: means, multiples of 2^-MEAN_BITS, likewise.
    """

    def __init__(
        self, tables: MixtureTables, scales: tf.Tensor, weights: tf.Tensor, means: tf.Tensor
    ) -> None:
        scales, weights = tf.cast(scales, tf.int32), tf.cast(weights, tf.int32)
        self._cdf = tf.constant(tables.cdf, tf.int64)
        self._means = tf.cast(means * 2.0**MEAN_BITS, tf.int64)
        weights += SCALES - 1 - tf.reduce_max(weights, -1, keepdims=True)
        self._weights = tf.gather(tf.constant(tables.weights, tf.int64), weights)
        self._inverse = tf.gather(tf.constant(tables.inverse_scales, tf.int64), scales)
        total = tf.reduce_sum(self._weights, -1)
        moment = tf.reduce_sum(self._weights * self._means, -1)
        self.center = (moment // total + MEAN_UNITS // 2) // MEAN_UNITS
        distance = tf.abs(self._means - (self.center * MEAN_UNITS)[..., None])
        reach = tf.gather(tf.constant(tables.reach, tf.int64), scales)
        reach = tf.reduce_max(reach + distance // MEAN_UNITS + 1, -1)
        powers = tf.constant([1 << level for level in range(MOST_LEVELS - 1)], tf.int64)
        wider = tf.cast(reach[..., None] > powers, tf.int64)
        self.levels = 1 + tf.reduce_sum(wider, -1)
        """Logarithm of the width of the first interval, which begins half of it below `center`."""
        self.total = total * 2 ** (CDF_BITS + FRACTION_BITS)
        """Value of the distribution functions at infinity."""

    def below(self, integers: tf.Tensor) -> tf.Tensor:
        """Returns the distribution functions at the lower edge of integers, times `total`."""
        edge = integers * MEAN_UNITS - MEAN_UNITS // 2
        product = (edge[..., None] - self._means) * self._inverse
        bits = MEAN_BITS + INVERSE_BITS - NODE_BITS - FRACTION_BITS
        last = CDF_REACH << (NODE_BITS + FRACTION_BITS)
        place = tf.clip_by_value(product // 2**bits, -last, last) + last
        node, fraction = place // 2**FRACTION_BITS, place % 2**FRACTION_BITS
        lower, upper = tf.gather(self._cdf, node), tf.gather(self._cdf, node + 1)
        values = lower * 2**FRACTION_BITS + (upper - lower) * fraction
        return tf.reduce_sum(self._weights * values, -1)


def transfer_mixtures(
    mixtures: Mixtures, transfer: Transfer, state: Any, integers: tf.Tensor
) -> tuple[Any, tf.Tensor]:
    """Codes integers under mixtures, or reads them; both make the same decisions in one order.

    Args:
        mixtures: one per integer.
        transfer: writes or reads the values of decisions.
        state: state of the range coder.
        integers: to be written; a reader ignores them.

    Returns:
        The new state, and the integers.
    """
    half = tf.bitwise.left_shift(tf.ones_like(mixtures.levels), mixtures.levels - 1)
    first, end = mixtures.center - half, mixtures.center + half
    low, high = mixtures.below(first), mixtures.below(end)
    outside = (integers < first) | (integers >= end)
    probability = _table_of_ratio(high - low, mixtures.total)
    state, escaped = transfer(state, probability, tf.cast(outside, tf.int64))
    inside = escaped == 0

    def halve(
        level: tf.Tensor, state: Any, start: tf.Tensor, low: tf.Tensor, high: tf.Tensor
    ) -> tuple[tf.Tensor, Any, tf.Tensor, tf.Tensor, tf.Tensor]:
        active = inside & (mixtures.levels > level)
        middle = start + tf.bitwise.left_shift(tf.constant(1, tf.int64), level)
        at_middle = mixtures.below(middle)
        table_index = _table_of_ratio(at_middle - low, high - low)
        table_index = tf.where(active, table_index, CERTAIN_TABLE)
        known = tf.cast(active & (integers >= middle), tf.int64)
        state, upper = transfer(state, table_index, known)
        up = active & (upper == 1)
        low = tf.where(up, at_middle, low)
        high = tf.where(active & ~up, at_middle, high)
        return level - 1, state, tf.where(up, middle, start), low, high

    deepest = tf.reduce_max(tf.concat([[1], tf.reshape(mixtures.levels, [-1])], 0)) - 1
    _, state, start, _, _ = tf.while_loop(
        lambda level, *_: level >= 0,
        halve,
        (deepest, state, first, low, high),
        parallel_iterations=1,
    )
    table_index = tf.where(inside, tf.constant(CERTAIN_TABLE, tf.int64), ESCAPE_TABLE)
    distance = tf.where(inside, tf.zeros_like(integers), integers - mixtures.center)
    state, distance = transfer(state, table_index, distance)
    return state, tf.where(inside, start, mixtures.center + distance)


def _table_of_ratio(part: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
    """Returns indexes of tables whose first symbol has nearly the probability part / whole."""
    scaled = part * 2**PROBABILITY_BITS // tf.maximum(whole, 1)
    # An interval that no component reaches is halved evenly.
    scaled = tf.where(whole > 0, scaled, 2 ** (PROBABILITY_BITS - 1))
    return tf.clip_by_value(scaled, 1, 2**PROBABILITY_BITS - 1) - 1
