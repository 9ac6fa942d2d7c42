"""Priors of quantized features: one density per channel, or one per class and channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc
import tensorflow_probability as tfp

from tfc_models.entropy.factorized import Densities
from tfc_models.entropy.integer_tables import IntegerTables

TAIL_MASS = 2.0**-10
"""Probability of integers that have no entry of their own in a table."""
WIDEST_TABLE = 4095
NARROW_TABLE = 255
LEAST_MASS = 1e-12
LEAST_SCALE = 0.1
"""Initial scale, in steps, of channels that are constant."""
SPEED = 10.0
"""Logarithms of scales and steps are this factor times their weights.

Optimizers such as Adam change all weights at about the same speed. Scales of a channel that loses
its information change by orders of magnitude, weights of networks do not.
"""


class _Densities(Densities):
    # The learned scale keeps densities within this range. The median is searched in every step of
    # training with rounding, so that the search has few evaluations.
    farthest = 2.0**10
    parts, divisions = 8, 8

    def median(self) -> tf.Tensor:
        """Returns the median of each density."""
        return self._position_of(0.0)


class FactorizedPrior(tf.keras.layers.Layer):
    """Prior with one learned density per channel: a deep factorized one and a learned scale."""

    classes = 0

    def __init__(self, channels: int) -> None:
        super().__init__(name="factorized_prior", dtype="float32")
        self.densities = _Densities(batch_shape=[channels], init_scale=2.0)
        self.log_scales = self.add_weight("log_scales", (channels,), initializer="zeros")
        self.built = True

    def initialize(self, latents: tf.Tensor) -> None:
        """Sets the scales by latents, examples × channels."""
        self.log_scales.assign(_log_scales(latents))

    def _noisy(self) -> tfc.UniformNoiseAdapter:
        """Returns the densities of latents with uniform noise."""
        scale = tfp.bijectors.Scale(tf.exp(SPEED * self.log_scales))
        scaled = tfp.distributions.TransformedDistribution(self.densities.base, scale)
        return tfc.UniformNoiseAdapter(scaled)

    def bits(self, latents: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns the bits of each position of latents, … × channels."""
        nats = self._noisy().log_prob(latents)
        return tf.reduce_sum(nats, axis=-1) / -math.log(2.0)

    def offsets(self) -> tf.Tensor:
        """Returns the medians of the densities, 1 × channels; integers are relative to them."""
        return self.densities.median() * tf.exp(SPEED * self.log_scales)[None]

    def rounded(self, latents: tf.Tensor) -> tf.Tensor:
        """Returns latents rounded to integer distances from the medians."""
        offsets = tf.stop_gradient(self.offsets()[0])
        return tf.round(latents - offsets) + offsets

    def tables(self) -> IntegerTables:
        """Returns the coding tables of all channels."""
        scale, offsets = tf.exp(SPEED * self.log_scales), self.offsets()[0]
        low = tfc.lower_tail(self.densities, TAIL_MASS) * scale - offsets - 0.5
        high = tfc.upper_tail(self.densities, TAIL_MASS) * scale - offsets + 0.5
        noisy = self._noisy()
        return _tables(low.numpy(), high.numpy(), lambda x: noisy.prob(x + offsets).numpy())

    def _variables_by_name(self) -> dict[str, tf.Variable]:
        variables = [self.log_scales, *self.densities.variables]
        return {str(i): variable for i, variable in enumerate(variables)}

    def save_own_variables(self, store: dict) -> None:
        """Writes all variables; Keras omits those of a tf.Module."""
        for name, variable in self._variables_by_name().items():
            store[name] = variable.numpy()

    def load_own_variables(self, store: dict) -> None:
        """Reads what `save_own_variables` wrote."""
        for name, variable in self._variables_by_name().items():
            variable.assign(store[name])


class ConditionalPrior(tf.keras.layers.Layer):
    """Prior with a class per position, and a mean and a scale for each class and channel.

    Features are logistic given their class. In training, the bits are those of the mixture of all
    classes, which gives every class a gradient. Afterwards, they are those of coding the best
    class, and the features given this class.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(name="conditional_prior", dtype="float32")
        self.built = True
        self.classes = classes
        normal = tf.keras.initializers.RandomNormal(stddev=1.0)
        shape = (classes, channels)
        self.means = self.add_weight("means", shape, initializer=normal)
        self.log_scales = self.add_weight("log_scales", shape, initializer="zeros")
        self.logits = self.add_weight("logits", (classes,), initializer="zeros")

    def initialize(self, latents: tf.Tensor) -> None:
        """Sets means to random latents, examples × channels, and scales by all of them."""
        chosen = tf.random.uniform((self.classes,), maxval=len(latents), dtype=tf.int32)
        self.means.assign(tf.gather(latents, chosen))
        scales = _log_scales(latents - tf.reduce_mean(latents, axis=0))
        self.log_scales.assign(tf.broadcast_to(scales, self.log_scales.shape))

    def _nats(self, distance: tf.Tensor) -> tf.Tensor:
        """Returns the logarithm of the probability of an interval of length 1 around numbers.

        Args:
            distance: of the numbers from the means, … × classes × channels.
        """
        # By symmetry, both ends are moved below the mean, where the difference is accurate.
        below, inverse = -tf.abs(distance), tf.exp(-SPEED * self.log_scales)
        mass = tf.sigmoid((below + 0.5) * inverse) - tf.sigmoid((below - 0.5) * inverse)
        # Far from the mean, it is that of the logistic density.
        tail = below * inverse - SPEED * self.log_scales
        return tf.where(mass > LEAST_MASS, tf.math.log(tf.maximum(mass, LEAST_MASS)), tail)

    def _of_classes(self, distance: tf.Tensor) -> tf.Tensor:
        """Returns the logarithm of the probability of each class and the channels given it."""
        return tf.reduce_sum(self._nats(distance), axis=-1) + tf.nn.log_softmax(self.logits)

    def offsets(self) -> tf.Tensor:
        """Returns the means, classes × channels; integers are relative to them."""
        return tf.identity(self.means)

    def rounded(self, latents: tf.Tensor) -> tf.Tensor:
        """Returns latents rounded to integer distances from the means of the best class."""
        means = tf.stop_gradient(self.means)
        distance = tf.round(latents[..., None, :] - means)
        best = tf.argmax(self._of_classes(distance), axis=-1)
        return tf.gather(distance + means, best, axis=-2, batch_dims=latents.shape.rank - 1)

    def bits(self, latents: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns the bits of each position of latents, … × channels."""
        distance = latents[..., None, :] - self.means
        if training:
            return tf.reduce_logsumexp(self._of_classes(distance), axis=-1) / -math.log(2.0)
        return tf.reduce_max(self._of_classes(tf.round(distance)), axis=-1) / -math.log(2.0)

    def tables(self) -> IntegerTables:
        """Returns the coding tables of all classes and channels, and that of the classes."""
        reach = (tf.exp(SPEED * self.log_scales) * math.log(2.0 / TAIL_MASS) + 0.5).numpy()
        shape = reach.shape

        def mass(x: np.ndarray) -> np.ndarray:
            distance = tf.constant(x.reshape(-1, *shape), tf.float32)
            return tf.exp(self._nats(distance)).numpy().reshape(len(x), -1)

        classes = tf.nn.softmax(self.logits).numpy()
        return _tables(-reach.reshape(-1), reach.reshape(-1), mass, further=[classes])


def _log_scales(latents: tf.Tensor) -> tf.Tensor:
    """Returns the weights of scales that equal the root mean square of each channel."""
    square = tf.reduce_mean(latents**2, axis=0)
    return tf.math.log(tf.maximum(tf.sqrt(square), LEAST_SCALE)) / SPEED


def _tables(
    low: np.ndarray, high: np.ndarray, mass: Callable, further: Sequence[np.ndarray] = ()
) -> IntegerTables:
    """Returns tables of the integers between tails.

    Args:
        low: lower tail of each table.
        high: upper tail of each table.
        mass: maps numbers × tables to their probabilities.
        further: probabilities of integers from 0 on, for further tables.
    """
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError("the weights of the prior are not finite: train with a lower rate.")
    first = np.floor(low).astype(np.int64)
    widths = np.minimum(np.ceil(high).astype(np.int64) - first + 1, WIDEST_TABLE)
    x = first + np.arange(widths.max())[:, None]
    probabilities = mass(x.astype(np.float32))
    if not np.isfinite(probabilities).all():
        raise ValueError("the weights of the prior are not finite: train with a lower rate.")
    precision = 12 if widths.max() <= NARROW_TABLE else 16
    minima, rows = [], []
    for table, width in enumerate(widths):
        row = probabilities[:width, table].astype(np.float64)
        # Integers that are rarer than the finest frequency only lengthen the table.
        kept = np.flatnonzero(row >= 2.0 ** -(precision + 1))
        kept = kept if len(kept) else np.array([row.argmax()])
        minima.append(int(first[table] + kept[0]))
        rows.append(row[kept[0] : kept[-1] + 1])
    minima += [0] * len(further)
    return IntegerTables.of_probabilities(minima, [*rows, *further], precision)
