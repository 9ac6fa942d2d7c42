"""Latents coded in an order: what comes first helps to predict what comes later.

All of them share one string for each example. The encoder writes it in the decoder's order; the
decoder reads on where it stopped, each time under the tables that it has found meanwhile.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow_compression.python.ops import gen_ops

from tfc_models.entropy.tables import long_enough, with_tail


def encode(coder: Any, residuals: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Strings of rounded residuals (examples × … ), each under an entry of the coder's table."""
    entries = tf.cast(index, tf.int32)
    symbols = tf.cast(tf.round(residuals), tf.int32) - tf.gather(coder.cdf_offset, entries)
    handle = gen_ops.create_range_encoder(tf.shape(index)[:1], coder.cdf)
    handle = gen_ops.entropy_encode_index(handle, entries, symbols)
    return gen_ops.entropy_encode_finalize(handle)


class State(NamedTuple):
    """Where a decoder has come to: the range decoder, and the least bits of what it gave."""

    handle: tf.Tensor
    least: tf.Tensor


class Decoder:
    """Reads residuals out of strings, part by part.

    Args:
        coder: whose tables they were coded under.
        strings: one for each example.
        symbols: how many each holds, all parts together.
    """

    def __init__(self, coder: Any, strings: tf.Tensor, symbols: tf.Tensor) -> None:
        self._coder, self._strings, self._symbols = coder, strings, symbols

    def start(self, after: tf.Tensor) -> State:
        """Before anything is read, and after something that may refuse the file is computed."""
        with tf.control_dependencies([after]):
            tailed = with_tail(tf.identity(self._strings), tf.identity(self._symbols))
        handle = gen_ops.create_range_decoder(tailed, self._coder.cdf)
        return State(handle, tf.zeros([tf.shape(self._strings)[0]], tf.float64))

    def read(self, state: State | None, index: tf.Tensor) -> tuple[State, tf.Tensor]:
        """The next residuals, float32, as many as there are entries; the first without a state."""
        entries = tf.cast(index, tf.int32)
        costs = self._coder.least_bits
        flat = tf.reshape(entries, [tf.shape(entries)[0], -1])
        counts = tf.math.bincount(flat, minlength=len(costs), axis=-1, dtype=tf.int64)
        least = tf.linalg.matvec(tf.cast(counts, tf.float64), tf.constant(costs))
        least = tf.ensure_shape(least, self._strings.shape)
        least = least if state is None else state.least + least
        # What was read and this: too much for the strings is told before it is read.
        enough = long_enough(self._strings, least)
        with tf.control_dependencies([enough]):
            entries = tf.identity(entries)
        state = self.start(enough) if state is None else state
        offset = self._coder.cdf_offset
        handle, symbols = gen_ops.entropy_decode_index(
            state.handle, entries, tf.shape(entries)[1:], offset.dtype
        )
        return State(handle, least), tf.cast(symbols + tf.gather(offset, entries), tf.float32)
