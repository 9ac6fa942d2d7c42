"""Range coding of integers in parts, one string per example.

The encoder writes all parts in the order of decoding. The decoder reads part by part, each under
tables that may depend on the parts before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow_compression.python.ops import gen_ops

from tfc_models.entropy.tables import long_enough, with_tail


def encode(coder: Any, values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Returns strings of integers (examples × …), each coded under a table of the coder."""
    entries = tf.cast(index, tf.int32)
    symbols = tf.cast(tf.round(values), tf.int32) - tf.gather(coder.cdf_offset, entries)
    handle = start_encoder(coder, tf.shape(index)[0])
    return finish_encoder(write(handle, entries, symbols))


def start_encoder(coder: Any, examples: tf.Tensor) -> tf.Tensor:
    """Returns a range encoder with the tables of a coder, for that number of strings."""
    return gen_ops.create_range_encoder([examples], coder.cdf)


def write(encoder: tf.Tensor, entries: tf.Tensor, symbols: tf.Tensor) -> tf.Tensor:
    """Returns the encoder after symbols (examples × …), each under an entry of the tables."""
    entries, symbols = tf.cast(entries, tf.int32), tf.cast(symbols, tf.int32)
    return gen_ops.entropy_encode_index(encoder, entries, symbols)


def finish_encoder(encoder: tf.Tensor) -> tf.Tensor:
    """Returns the strings of an encoder."""
    return gen_ops.entropy_encode_finalize(encoder)


class State(NamedTuple):
    """State of a decoder: the range decoder, and the least bits of all that was read."""

    handle: tf.Tensor
    least: tf.Tensor


class Decoder:
    """Reads integers from strings, part by part.

    Args:
        coder: coder whose tables they were coded under.
        strings: one string per example.
        symbols: most integers that each may hold, all parts together.
    """

    def __init__(self, coder: Any, strings: tf.Tensor, symbols: tf.Tensor) -> None:
        self._coder, self._strings, self._symbols = coder, strings, symbols

    def start(self, after: tf.Tensor) -> State:
        """Returns the first state, after a tensor is computed that may refuse the file."""
        with tf.control_dependencies([after]):
            tailed = with_tail(tf.identity(self._strings), tf.identity(self._symbols))
        handle = gen_ops.create_range_decoder(tailed, self._coder.cdf)
        return State(handle, tf.zeros([tf.shape(self._strings)[0]], tf.float64))

    def read(self, state: State | None, index: tf.Tensor) -> tuple[State, tf.Tensor]:
        """Returns the next integers as float32, one per entry; the first without a state."""
        entries = tf.cast(index, tf.int32)
        costs = self._coder.least_bits
        flat = tf.reshape(entries, [tf.shape(entries)[0], -1])
        counts = tf.math.bincount(flat, minlength=len(costs), axis=-1, dtype=tf.int64)
        least = tf.linalg.matvec(tf.cast(counts, tf.float64), tf.constant(costs))
        least = tf.ensure_shape(least, self._strings.shape)
        least = least if state is None else state.least + least
        # Refuses more than the strings can hold before anything is read.
        enough = long_enough(self._strings, least)
        with tf.control_dependencies([enough]):
            entries = tf.identity(entries)
        state = self.start(enough) if state is None else state
        offset = self._coder.cdf_offset
        handle, symbols = gen_ops.entropy_decode_index(
            state.handle, entries, tf.shape(entries)[1:], offset.dtype
        )
        return State(handle, least), tf.cast(symbols + tf.gather(offset, entries), tf.float32)
