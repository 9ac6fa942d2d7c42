"""An autoregressive context: every latent is predicted from those above it and to its left."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.entropy import ordered
from tfc_models.entropy.context import ContextHyperprior, GainedContext
from tfc_models.entropy.hyperprior import (
    DISTRIBUTIONS,
    SCALES,
    Quantized,
    Told,
    parts_of_scales,
    scale_of,
)


class AutoregressiveHyperprior(ContextHyperprior):
    """Predicts each latent from z and from the 12 latents before it in a 5×5 window.

    Minnen, Ballé, Toderici, "Joint Autoregressive and Hierarchical Priors for Learned Image
    Compression" (NeurIPS 2018)::

        z ─ features ──────┬─ 1×1 ─ 1×1 ─ 1×1 ─ μ, σ
        ŷ ─ masked 5×5 ────┘

    Latents are rounded to integers, whatever their means: then the encoder knows all of them
    beforehand, computes every parameter at once, and codes once. The mean moves the
    distribution over the integers instead, and the coding tables hold every scale at several
    fractions of a step.

    The decoder goes by wavefront. With r rows and columns of reach, latents with equal
    x + (r + 1)·y depend on none of each other, and are decoded together.
    """

    def _make_exact(self, shifts: dict[str, np.ndarray]) -> None:
        super()._make_exact(shifts)
        near = self._readers[self.context.name]
        self._windows = near.over_taps(np.flatnonzero(self.context.mask))

    def _stand_in(self, y: tf.Tensor, noisy: tf.Tensor | None, mean: tf.Tensor | None) -> tf.Tensor:
        del mean
        return super()._stand_in(y, noisy, None)

    def quantize(self, y: tf.Tensor, mean: tf.Tensor | None = None) -> tf.Tensor:
        """Rounds, whatever the mean."""
        del mean
        return super().quantize(y, None)

    def predict(
        self, quantized: Quantized, shape: tf.Tensor, z_hat: tf.Tensor, rate: tf.Tensor | None
    ) -> Told:
        """See the base class."""
        features = self._features(z_hat, shape)
        seen = self._to_read(quantized(None), rate)
        return Told(*self._from(features, self._near(seen, features.dtype), rate))

    def symbols_of(self, y: tf.Tensor, mean: tf.Tensor | None) -> tf.Tensor:
        """Returns the latents rounded: means move the distribution instead."""
        del mean
        return tf.round(y)

    def from_symbols(self, symbols: tf.Tensor, mean: tf.Tensor | None) -> tf.Tensor:
        """Returns the integers, which are the latents."""
        del mean
        return symbols

    def symbol_bits(
        self, symbols: tf.Tensor, index: tf.Tensor, mean: tf.Tensor | None
    ) -> tf.Tensor:
        """See the base class."""
        return self._element_bits(symbols - mean, index)

    def _estimated(
        self, y: tf.Tensor, index: tf.Tensor, mean: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        y_hat = self.quantize(y)
        nats = self._make_prior(index).log_prob(y_hat - mean)
        return y_hat, tf.reduce_sum(nats, axis=(1, 2, 3)) / -np.log(2.0)

    def _table_prior(self) -> Any:
        parts = parts_of_scales()
        index = np.repeat(np.arange(SCALES), parts)
        fraction = np.concatenate([np.arange(p) / p for p in parts])
        scale = scale_of(tf.constant(index, tf.float32))
        return DISTRIBUTIONS[self.distribution](loc=tf.constant(fraction, tf.float32), scale=scale)

    def _entries(self, index: tf.Tensor, mean: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The table's entry and the whole part for each index and mean, both exact."""
        parts = parts_of_scales()
        first = np.cumsum(parts) - parts
        index = tf.cast(index, tf.int32)
        parts = tf.gather(tf.constant(parts, tf.float32), index)
        steps = tf.round(mean * parts)  # by a power of two
        whole = tf.floor(steps / parts)
        fraction = tf.cast(steps - whole * parts, tf.int32)
        return tf.gather(tf.constant(first, tf.int32), index) + fraction, whole

    def _encoded(
        self, symbols: tf.Tensor, index: tf.Tensor, mean: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        entries, whole = self._entries(index, mean)
        order = wavefronts(tf.shape(symbols)[1:3], self._reach)[0]
        flat = [tf.gather(_rows(maps), order, axis=1) for maps in (symbols - whole, entries)]
        return (ordered.encode(self, *flat),)

    @property
    def _reach(self) -> int:
        return self.context.size // 2

    def _decoded(
        self, own: list[tf.Tensor], z_hat: tf.Tensor, shape: tf.Tensor, rate: tf.Tensor | None
    ) -> tf.Tensor:
        (strings,) = own
        reach, taps = self._reach, np.argwhere(self.context.mask) - self._reach
        order, ends = wavefronts(shape, reach)
        features = tf.gather(_rows(self._features(z_hat, shape)), order, axis=1)
        batch = tf.shape(features)[0]
        decoder = ordered.Decoder(self, strings, tf.size(order) * self.latents)
        # What is read lies in the fronts before: each a column of all rows, zeros above.
        depth = reach + (reach + 1) * reach
        places = [(depth + int(x) + (reach + 1) * int(y), int(y) + reach) for y, x in taps]

        def step(i: tf.Tensor, state: Any, fronts: list[tf.Tensor], found: tf.TensorArray) -> Any:
            here = slice(ends[i], ends[i + 1])
            count = ends[i + 1] - ends[i]
            top = tf.maximum((i - shape[1]) // (reach + 1) + 1, 0)
            window = [fronts[j][:, top + down : top + down + count] for j, down in places]
            near = tf.cast(self._windows(tf.concat(window, -1)[:, :, None]), tf.float32)
            index, mean = self._from(features[:, here, None], near, rate, tiles=False)
            entries, whole = self._entries(index, mean)
            state, residuals = decoder.read(state, entries)
            y_hat = residuals + whole
            to_read = self._to_read(y_hat, rate)[:, :, 0]
            front = tf.pad(to_read, [[0, 0], [reach + top, shape[0] - top - count], [0, 0]])
            found = found.write(i, tf.transpose(y_hat[:, :, 0], [1, 0, 2]))
            return i + 1, state, [*fronts[1:], front], found

        steps = tf.size(ends) - 1
        nothing = tf.zeros([batch, reach + shape[0], self.latents])
        found = tf.TensorArray(
            tf.float32, steps, infer_shape=False, element_shape=[None, None, self.latents]
        )
        *_, found = tf.while_loop(
            lambda i, *_: i < steps,
            step,
            (0, decoder.start(features), [nothing] * depth, found),
            parallel_iterations=1,
        )
        found = tf.gather(found.concat(), tf.math.invert_permutation(order))
        found = tf.transpose(found, [1, 0, 2])
        return tf.reshape(found, [batch, shape[0], shape[1], self.latents])


class GainedAutoregressive(AutoregressiveHyperprior, GainedContext):
    """The same for latents at any rate."""

    keeps_features = True


def wavefronts(shape: tf.Tensor, reach: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Squares, in raster order numbered, in the order of decoding; where each front begins.

    The second has one more entry, for the end of the last front.
    """
    y, x = tf.range(shape[0])[:, None], tf.range(shape[1])[None]
    front = tf.reshape(x + (reach + 1) * y, [-1])
    # Where a picture is narrow, some fronts are empty.
    sizes = tf.math.bincount(front)
    return tf.argsort(front, stable=True), tf.concat([[0], tf.cumsum(sizes)], 0)


def _rows(maps: tf.Tensor) -> tf.Tensor:
    """Maps with their squares in a row."""
    return tf.reshape(maps, [tf.shape(maps)[0], -1, maps.shape[3]])
