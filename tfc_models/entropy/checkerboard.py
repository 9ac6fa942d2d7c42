"""A checkerboard context: half of the latents, once decoded, help to predict the other half."""

from __future__ import annotations

import tensorflow as tf

from tfc_models.entropy import ordered
from tfc_models.entropy.context import ContextHyperprior, GainedContext
from tfc_models.entropy.hyperprior import Quantized, Told


def board(shape: tf.Tensor) -> tf.Tensor:
    """1 on the squares that are decoded first, 0 on the others; 1 × height × width × 1."""
    y, x = tf.range(shape[0])[:, None], tf.range(shape[1])[None]
    return tf.cast((y + x) % 2 == 0, tf.float32)[None, :, :, None]


class CheckerboardHyperprior(ContextHyperprior):
    """Predicts half of the latents from z alone, the others from their neighbours too.

    He, Zheng, Sun, Wang, Qin, "Checkerboard Context Model for Efficient Learned Image
    Compression" (CVPR 2021): two passes, each parallel over its squares, in place of one step
    for each latent. Here

    ::

        z ─ features ─┬─────────────────┬─ 1×1 ─ μ, σ
                      ├─ 1×1 ───────────┘
        ŷ ─ 3×3 ──────┘

    where the 3×3 convolution reads the first squares, and for them reads nothing.
    """

    keeps_features = True
    marks_known = True

    def predict(
        self, quantized: Quantized, shape: tf.Tensor, z_hat: tf.Tensor, rate: tf.Tensor | None
    ) -> Told:
        """See the base class."""
        features, first = self._features(z_hat, shape), board(shape)
        index, mean = self._first(features, rate)
        seen = quantized(mean) * first
        later_index, later_mean = self._later(features, seen, first, rate)
        # Sums of a value and zero, and so exact.
        index = first * index + (1.0 - first) * later_index
        return Told(index, first * mean + (1.0 - first) * later_mean)

    def decoding_groups(self, shape: tf.Tensor) -> list[tf.Tensor]:
        """The squares that are decoded first, then the others."""
        first = board(shape)
        return [first, 1.0 - first]

    def _first(self, features: tf.Tensor, rate: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Scale indexes and means for the squares before which nothing is known."""
        near = self._near(tf.zeros([1, 1, 1, self.latents + 1]), features.dtype)
        return self._from(features, near, rate)

    def _later(
        self, features: tf.Tensor, seen: tf.Tensor, known: tf.Tensor, rate: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scale indexes and means for squares whose neighbours, with `known` 1, are seen."""
        near = self._near(_marked(self._to_read(seen, rate), known), features.dtype)
        return self._from(features, near, rate)

    def _samples(
        self, y: tf.Tensor, features: tf.Tensor, rate: tf.Tensor | None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        first = board(tf.shape(y)[1:3])
        seen = self._to_read(self.quantize(y, self._first(features, rate)[1]) * first, rate)
        return seen, [_marked(seen, first), _marked(tf.zeros_like(seen), tf.zeros_like(first))]

    def _encoded(
        self, symbols: tf.Tensor, index: tf.Tensor, mean: tf.Tensor | None
    ) -> tuple[tf.Tensor, ...]:
        del mean
        order, _, _ = _orders(tf.shape(symbols)[1:3])
        return (ordered.encode(self, _taken(symbols, order), _taken(index, order)),)

    def _decoded(
        self, own: list[tf.Tensor], z_hat: tf.Tensor, shape: tf.Tensor, rate: tf.Tensor | None
    ) -> tf.Tensor:
        (strings,) = own
        features, first = self._features(z_hat, shape), board(shape)
        order, back, count = _orders(shape)
        decoder = ordered.Decoder(self, strings, tf.size(order) * self.latents)
        index, mean = self._first(features, rate)
        state, half = decoder.read(None, _taken(index, order[:count]))
        half += _taken(mean, order[:count])
        rest = tf.zeros([tf.shape(half)[0], tf.size(order) - count, self.latents])
        seen = _put_back(tf.concat([half, rest], 1), back, shape)
        index, mean = self._later(features, seen, first, rate)
        _, other = decoder.read(state, _taken(index, order[count:]))
        other += _taken(mean, order[count:])
        return _put_back(tf.concat([half, other], 1), back, shape)


class GainedCheckerboard(CheckerboardHyperprior, GainedContext):
    """The same for latents at any rate."""


def _marked(seen: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """Latents to read, and behind them where they are known."""
    return tf.concat([seen, tf.broadcast_to(known, tf.concat([tf.shape(seen)[:3], [1]], 0))], -1)


def _orders(shape: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Squares in the order of decoding, the way back, and how many come first."""
    second = 1 - tf.cast(tf.reshape(board(shape), [-1]), tf.int32)
    order = tf.argsort(second, stable=True)
    return order, tf.math.invert_permutation(order), tf.size(order) - tf.reduce_sum(second)


def _taken(maps: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """Some squares of maps, in a row."""
    shape = tf.shape(maps)
    return tf.gather(tf.reshape(maps, [shape[0], -1, maps.shape[3]]), order, axis=1)


def _put_back(values: tf.Tensor, back: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """The end of `_taken`, of all squares."""
    maps = tf.gather(values, back, axis=1)
    return tf.reshape(maps, [tf.shape(values)[0], shape[0], shape[1], values.shape[2]])
