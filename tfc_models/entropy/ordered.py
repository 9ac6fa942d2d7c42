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

    def start(self) -> State:
        """Before anything is read."""
        tailed = with_tail(self._strings, self._symbols)
        handle = gen_ops.create_range_decoder(tailed, self._coder.cdf)
        return State(handle, tf.zeros([tf.shape(self._strings)[0]], tf.float64))

    def read(self, state: State, index: tf.Tensor) -> tuple[State, tf.Tensor]:
        """The next residuals, float32, as many as there are entries."""
        entries = tf.cast(index, tf.int32)
        costs = tf.gather(tf.constant(self._coder.least_bits), entries)
        least = state.least + tf.reduce_sum(tf.reshape(costs, [tf.shape(costs)[0], -1]), -1)
        # What was read and this: too much for the strings is told before it is read.
        with tf.control_dependencies([long_enough(self._strings, least)]):
            entries = tf.identity(entries)
        offset = self._coder.cdf_offset
        handle, symbols = gen_ops.entropy_decode_index(
            state.handle, entries, tf.shape(entries)[1:], offset.dtype
        )
        return State(handle, least), tf.cast(symbols + tf.gather(offset, entries), tf.float32)
