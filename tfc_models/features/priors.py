"""Priors of quantized features: one density per channel, or one per class and channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.entropy.factorized import Densities
from tfc_models.entropy.integer_tables import IntegerTables

TAIL_MASS = 2.0**-10
"""Probability of integers that have no entry of their own in a table."""
WIDEST_TABLE = 4095
NARROW_TABLE = 255
LEAST_MASS = 1e-12


class FactorizedPrior(tf.keras.layers.Layer):
    """Prior with one learned density per channel (deep factorized)."""

    classes = 0

    def __init__(self, channels: int) -> None:
        super().__init__(name="factorized_prior", dtype="float32")
        self.built = True
        self.densities = Densities(batch_shape=[channels], init_scale=4.0)

    def bits(self, latents: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns the bits of each position of latents, … × channels."""
        nats = self.densities.log_prob(latents)
        return tf.reduce_sum(nats, axis=-1) / -math.log(2.0)

    def tables(self) -> IntegerTables:
        """Returns the coding tables of all channels."""
        low = tfc.lower_tail(self.densities, TAIL_MASS)
        high = tfc.upper_tail(self.densities, TAIL_MASS)
        return _tables(low.numpy(), high.numpy(), lambda x: self.densities.prob(x).numpy())

    def save_own_variables(self, store: dict) -> None:
        """Writes all variables; Keras omits those of a tf.Module."""
        for i, variable in enumerate(self.densities.variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: dict) -> None:
        """Reads what `save_own_variables` wrote."""
        for i, variable in enumerate(self.densities.variables):
            variable.assign(store[str(i)])


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

    def _mass(self, latents: tf.Tensor) -> tf.Tensor:
        """Returns the probability of an interval of length 1 around each latent."""
        # By symmetry, both ends are moved below the mean, where the difference is accurate.
        distance = -tf.abs(latents - self.means)
        inverse = tf.exp(-self.log_scales)
        return tf.sigmoid((distance + 0.5) * inverse) - tf.sigmoid((distance - 0.5) * inverse)

    def bits(self, latents: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns the bits of each position of latents, … × channels."""
        latents = latents[..., None, :]
        # Far from the mean, the logarithm of the mass is that of the logistic density.
        inverse = tf.exp(-self.log_scales)
        tail = -tf.abs(latents - self.means) * inverse - self.log_scales
        mass = self._mass(latents)
        nats = tf.where(mass > LEAST_MASS, tf.math.log(tf.maximum(mass, LEAST_MASS)), tail)
        nats = tf.reduce_sum(nats, axis=-1) + tf.nn.log_softmax(self.logits)
        if training:
            return tf.reduce_logsumexp(nats, axis=-1) / -math.log(2.0)
        return tf.reduce_max(nats, axis=-1) / -math.log(2.0)

    def tables(self) -> IntegerTables:
        """Returns the coding tables of all classes and channels, and that of the classes."""
        reach = tf.exp(self.log_scales) * math.log(2.0 / TAIL_MASS) + 0.5
        low, high = (self.means - reach).numpy(), (self.means + reach).numpy()
        shape = low.shape

        def mass(x: np.ndarray) -> np.ndarray:
            latents = tf.constant(x.reshape(-1, *shape), tf.float32)
            return self._mass(latents).numpy().reshape(len(x), -1)

        classes = tf.nn.softmax(self.logits).numpy()
        return _tables(low.reshape(-1), high.reshape(-1), mass, further=[classes])


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
