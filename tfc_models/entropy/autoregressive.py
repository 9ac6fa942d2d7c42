"""An autoregressive context: every latent is predicted from those above it and to its left."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.entropy import ordered
from tfc_models.entropy.context import ContextHyperprior, GainedContext
from tfc_models.entropy.hyperprior import DISTRIBUTIONS, SCALES, Told, parts_of_scales, scale_of


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

    def _parameters_for(
        self,
        y: tf.Tensor,
        noisy: tf.Tensor | None,
        z_hat: tf.Tensor,
        rate: tf.Tensor | None,
    ) -> Told:
        features = self._features(z_hat, tf.shape(y)[1:3])
        seen = self._to_read(self._stand_in(y, noisy, None), rate)
        return Told(*self._from(features, self._near(seen, features.dtype), rate))

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

    def _encoded(self, y: tf.Tensor, index: tf.Tensor, mean: tf.Tensor) -> tuple[tf.Tensor, ...]:
        entries, whole = self._entries(index, mean)
        order = wavefronts(tf.shape(y)[1:3], self._reach)[0]
        flat = [tf.gather(_rows(maps), order, axis=1) for maps in (tf.round(y) - whole, entries)]
        return (ordered.encode(self, *flat),)

    @property
    def _reach(self) -> int:
        return self.context.size // 2

    def _decoded(
        self, own: list[tf.Tensor], z_hat: tf.Tensor, shape: tf.Tensor, rate: tf.Tensor | None
    ) -> tf.Tensor:
        (strings,) = own
        features, reach = _rows(self._features(z_hat, shape)), self._reach
        order, ends = wavefronts(shape, reach)
        count, batch = tf.size(order), tf.shape(features)[0]
        decoder = ordered.Decoder(self, strings, count * self.latents)
        # What is read lies in a frame of zeros: above, and on both sides.
        width = shape[1] + 2 * reach
        place = (order // shape[1] + reach) * width + order % shape[1] + reach
        taps = np.argwhere(self.context.mask) - reach
        offsets = tf.constant(taps[:, 0], tf.int32) * width + tf.constant(taps[:, 1], tf.int32)
        framed = tf.zeros([(shape[0] + reach) * width, batch, self.latents])

        def step(i: tf.Tensor, state: Any, seen: tf.Tensor, found: tf.Tensor) -> Any:
            here = order[ends[i] : ends[i + 1]]
            places = place[ends[i] : ends[i + 1]]
            window = tf.gather(seen, places[:, None] + offsets)  # here × taps × batch × latents
            window = tf.reshape(
                tf.transpose(window, [2, 0, 1, 3]),
                [batch, -1, 1, len(taps) * self.latents],
            )
            near = tf.cast(self._windows(window), tf.float32)
            read = tf.gather(features, here, axis=1)[:, :, None]
            index, mean = self._from(read, near, rate, tiles=False)
            entries, whole = self._entries(index, mean)
            state, residuals = decoder.read(state, entries)
            y_hat = tf.transpose((residuals + whole)[:, :, 0], [1, 0, 2])
            to_read = self._to_read(tf.transpose(y_hat, [1, 0, 2])[:, :, None], rate)[:, :, 0]
            seen = tf.tensor_scatter_nd_update(
                seen, places[:, None], tf.transpose(to_read, [1, 0, 2])
            )
            found = tf.tensor_scatter_nd_update(found, here[:, None], y_hat)
            return i + 1, state, seen, found

        found = tf.zeros([count, batch, self.latents])
        steps = tf.size(ends) - 1
        *_, found = tf.while_loop(
            lambda i, *_: i < steps,
            step,
            (0, decoder.start(features), framed, found),
            parallel_iterations=1,
        )
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
    order = tf.argsort(front, stable=True)
    # Where a picture is narrow, not every number has a front.
    sizes = tf.unique_with_counts(tf.gather(front, order)).count
    return order, tf.concat([[0], tf.cumsum(sizes)], 0)


def _rows(maps: tf.Tensor) -> tf.Tensor:
    """Maps with their squares in a row."""
    return tf.reshape(maps, [tf.shape(maps)[0], -1, maps.shape[3]])
