"""What coders have in common that read latents which were decoded before."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from tfc_models.entropy.exact import ExactNetwork, Integers, activation_integers
from tfc_models.entropy.gained import GainedHyperprior
from tfc_models.entropy.hyperprior import ALL, EXACT_TILE, REDUCTION, MeanScaleHyperprior
from tfc_models.layers import Chain, level_weights, rate_of_each, tiled

INVERSE_BITS = 16  # An inverse gain, in a frozen model, is a multiple of 2^-16
LARGEST_INVERSE = 2**24 - 1  # and exact in float32.


class ReadingHyperprior(MeanScaleHyperprior):
    """A hyperprior whose `hyper_synthesis` gives features, for networks that read latents too.

    Frozen, all of these are exact networks, and what they read are integers: the latents at a
    power of two per channel.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._seen = np.zeros(0, np.int32)
        self._readers: dict[str, ExactNetwork] = {}

    def _features_of(
        self, network: Chain, exact: ExactNetwork | None, z_hat: tf.Tensor, shape: tf.Tensor
    ) -> tf.Tensor:
        """What z tells of every latent: numbers, or in a frozen model integers."""
        if exact is None:
            features = network(tf.cast(z_hat, self.network_dtype))
        else:
            out = tf.TensorSpec([None, None, exact.outputs.exponent.size], tf.float32)
            features = tiled(
                lambda z: tf.cast(exact(z), tf.float32), z_hat, 1, REDUCTION, out, EXACT_TILE
            )
        return features[:, : shape[0], : shape[1]]

    def _to_read(
        self, y_hat: tf.Tensor, rate: tf.Tensor | None, channels: slice = ALL
    ) -> tf.Tensor:
        """Latents (some channels) as they are read: in a frozen model, integers."""
        del rate  # see GainedReading
        if self.exact is None:
            return y_hat
        unit = np.exp2(self._seen[channels].astype(np.float64)).astype(np.float32)
        return tf.round(y_hat * unit)

    def _predicted(self, z_hat: tf.Tensor, shape: tf.Tensor) -> NoReturn:
        raise NotImplementedError("what z tells here are features, not indexes and means.")

    def _read_integers(self, exponent: np.ndarray) -> Integers:
        return activation_integers(exponent, self.activation_bits)

    def _shifts(self) -> dict[str, np.ndarray]:
        inner = {
            f"{name}/{k}": v
            for name, network in self._readers.items()
            for k, v in network.shifts.items()
        }
        return {**super()._shifts(), "seen": self._seen, **inner}

    @property
    def pieces(self) -> list[int]:
        """How many float32 convolutions stand for each exact layer."""
        return [*self.exact.pieces, *(n for net in self._readers.values() for n in net.pieces)]


class GainedReading(ReadingHyperprior, GainedHyperprior):
    """The same for latents at any rate: they are read divided by the gain of their means.

    That is learned, and follows the rate's own gain as far as it helps to predict.
    """

    def _to_read(
        self, y_hat: tf.Tensor, rate: tf.Tensor | None, channels: slice = ALL
    ) -> tf.Tensor:
        rate = rate_of_each(y_hat, rate)
        if self.exact is None:
            gain = self.mean_gain.at(level_weights(rate, self.levels))
            return y_hat / gain[:, None, None, channels]
        rows = tf.cast(tf.round(rate), tf.int32)
        inverse = tf.constant(self._rates["inverse_gain"][:, channels], tf.float32)
        inverse = tf.gather(inverse, rows)[:, None, None]
        unit = np.exp2(self._seen[channels].astype(np.float64) - INVERSE_BITS).astype(np.float32)
        # One IEEE multiplication that may round, and one by a power of two.
        return tf.round(y_hat * inverse * unit)

    def _integer_gains(self, gain: np.ndarray) -> dict[str, np.ndarray]:
        inverse = np.rint(2.0**INVERSE_BITS / gain)
        if inverse.max() > LARGEST_INVERSE:
            raise ValueError(
                f"a gain of means, {gain.min():.2g}, is too small to be read exactly: "
                "training went astray."
            )
        return {**super()._integer_gains(gain), "inverse_gain": inverse.astype(np.int32)}
