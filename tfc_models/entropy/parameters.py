"""Parameters of the predicted distributions: scale indexes and means, as floats or bit-exact."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

SCALES = 64
SCALE_MIN, SCALE_MAX = 0.11, 256.0
# A network's output of 0 is a scale of about 1. An increase of 1 moves the index by 8, which
# multiplies the scale by 2.7, so that outputs and their gradients are of order 1.
INDEX_STEP, INDEX_ORIGIN = 8.0, 18.0
LARGEST_INDEX = 2.0**10  # bound of an index before the offset of a rate is added
# Means are multiples of 2^-6, so that integer + mean is exact in float32.
MEAN_BITS = 6
LARGEST_MEAN = 2.0**14
# Most tables for fractions of means per scale, and the scale from which on one table suffices.
MAX_MEAN_FRACTIONS, SINGLE_FRACTION_SCALE = 64, 16.0
ALL_CHANNELS = slice(None)


class EntropyParameters(NamedTuple):
    """Parameters of the distributions of latents.

    Mixtures have several means per latent; `index` has the scale indexes of a latent's components
    and then their weight indexes, latent by latent.

    Attributes:
        index: predicted scale indexes; None: latents do not depend on them (see `order.Raster`).
        mean: predicted means; None: zero, or as for `index`.
        correction: predicted residual correction; None: zero.
        dither: levels of the dither; None: no dither.
    """

    index: tf.Tensor
    mean: tf.Tensor | None
    correction: tf.Tensor | None = None
    dither: tf.Tensor | None = None

    def corrected(self, y_hat: tf.Tensor) -> tf.Tensor:
        """Returns decoded latents with the correction added."""
        return y_hat if self.correction is None else y_hat + self.correction

    def with_dither(
        self, dither: tf.Tensor | None, channels: slice = ALL_CHANNELS
    ) -> EntropyParameters:
        """Returns the parameters with the dither of some channels."""
        return self._replace(dither=None if dither is None else dither[..., channels])


class Outputs(NamedTuple):
    """Outputs of a network: floats, or exact integers in multiples of `unit` per channel."""

    values: tf.Tensor
    unit: np.ndarray | None

    def split(self, first_channels: int | None = None) -> tuple[Outputs, Outputs]:
        """Returns the first channels (None: half of them) and the others."""
        count = self.values.shape[-1]
        place = count // 2 if first_channels is None else first_channels
        units = (None, None) if self.unit is None else np.split(self.unit, [place])
        first, second = tf.split(self.values, [place, count - place], axis=-1)
        return Outputs(first, units[0]), Outputs(second, units[1])


def indexes_per_latent(components: int) -> int:
    """Returns the number of indexes of a latent: of its scale, or of all scales and weights."""
    return 1 if components == 1 else 2 * components


def outputs_per_latent(components: int) -> int:
    """Returns the number of network outputs of a latent: its indexes and means."""
    return indexes_per_latent(components) + components


def scale_of(index: tf.Tensor) -> tf.Tensor:
    """Returns scales, log-spaced over the table; differentiable between its entries."""
    step = (math.log(SCALE_MAX) - math.log(SCALE_MIN)) / (SCALES - 1)
    return tf.exp(math.log(SCALE_MIN) + step * index)


def fractions_per_scale() -> np.ndarray:
    """Returns the number of tables at fractions of a step, for every scale.

    Rounding means to these fractions increases the rate in proportion to (spacing / scale)², here
    by less than 0.1 %.
    """
    scales = np.geomspace(SCALE_MIN, SCALE_MAX, SCALES)
    parts = 2.0 ** np.ceil(np.log2(np.maximum(SINGLE_FRACTION_SCALE / scales, 1.0)))
    return np.minimum(parts, MAX_MEAN_FRACTIONS).astype(np.int32)


def scale_index(outputs: Outputs, fraction_bits: int = 0) -> tf.Tensor:
    """Returns scale indexes, not yet limited to the table.

    Args:
        outputs: of the network.
        fraction_bits: exact indexes are rounded to multiples of 2^-fraction_bits.
    """
    values, unit = outputs
    if unit is None:
        return values * INDEX_STEP + INDEX_ORIGIN
    scale = tf.constant(unit * INDEX_STEP * 2.0**fraction_bits, values.dtype)
    index = tf.round(values * scale) * 2.0**-fraction_bits + INDEX_ORIGIN
    return tf.cast(tf.clip_by_value(index, -LARGEST_INDEX, LARGEST_INDEX), tf.float32)


def mean_of(outputs: Outputs) -> tf.Tensor:
    """Returns means; exact ones are multiples of 2^-MEAN_BITS."""
    values, unit = outputs
    if unit is None:
        return values
    mean = tf.round(values * tf.constant(unit * 2**MEAN_BITS, values.dtype))
    mean = tf.cast(mean * 2.0**-MEAN_BITS, tf.float32)
    return tf.clip_by_value(mean, -LARGEST_MEAN, LARGEST_MEAN)
