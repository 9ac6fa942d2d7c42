"""Range coding tables: built once, stored with the weights, never rebuilt by a reader."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

_TAIL = b"\x55" * 2**14


class FrozenTables:
    """Mixin for tfc entropy models: tables by an explicit step instead of on construction.

    tfc builds tables in the constructor, from a prior that must then be final. Here the
    model trains first, and `freeze` builds them, or takes the ones that were stored: they
    come out of floating-point integrals, which another machine may round differently.
    """

    range_coder_bits = 12

    @property
    def frozen(self) -> bool:
        """Whether the tables exist, so that `compress` and `decompress` work."""
        return self.compression

    def _freeze_tables(self, state: dict[str, Any] | None) -> None:
        if self.frozen:
            return
        if state is None:
            # As a graph: the search for the tails is a loop that takes seconds when eager.
            build = tf.function(
                lambda: self._build_tables(
                    self._table_prior(), self.range_coder_bits, self._table_offset()
                ),
                autograph=False,
            )
            cdf, offset = build()
        else:
            cdf, offset = state["cdf"], state["cdf_offset"]
        self._compression, self._stateless = True, False
        # It looks for the end of the string, which has a tail (see `decodable`); the
        # container's fingerprints tell more.
        self.decode_sanity_check = False
        self._init_compression(cdf, offset, None)
        self.least_bits = least_bits(self.cdf.numpy())

    def _table_offset(self) -> np.ndarray | None:
        """Of each table, what lies between the values that it holds and integers; none: 0."""
        return None

    def _tables(self) -> dict[str, np.ndarray]:
        return {"cdf": self.cdf.numpy(), "cdf_offset": self.cdf_offset.numpy()}

    def _require(self, frozen: bool) -> None:
        if frozen and not self.frozen:
            raise RuntimeError("Coding needs frozen tables: call freeze() after training.")
        if not frozen and self.frozen:
            raise RuntimeError(
                "A frozen model does not train. Train a copy: models.build(...) and its checkpoint."
            )


def least_bits(cdf: np.ndarray) -> np.ndarray:
    """For each table, the bits that its cheapest symbol costs: a bound for forged sizes."""
    total = float(1 << int(-cdf[0]))
    starts = np.flatnonzero(cdf < 0)
    likeliest = [np.diff(row[1:]).max() for row in np.split(cdf, starts[1:])]
    return -np.log2(np.asarray(likeliest) / total)


def long_enough(strings: tf.Tensor, least_bits: tf.Tensor) -> tf.Tensor:
    """Strings that can hold what they claim to hold; others are refused.

    Args:
        strings: one string for each example.
        least_bits: what the cheapest symbols would cost, all together.
    """
    bits = 8.0 * tf.cast(tf.strings.length(strings), tf.float64)
    # The range coder leaves out trailing bytes; 4 bytes are more than it can save.
    enough = tf.reduce_all(bits + 32.0 >= 0.999 * tf.cast(least_bits, tf.float64))
    check = tf.debugging.Assert(enough, ["tfc-models: damaged: a stream is shorter than its size"])
    with tf.control_dependencies([check]):
        return tf.identity(strings)


def with_tail(strings: tf.Tensor, symbols: tf.Tensor) -> tf.Tensor:
    """Strings that the range decoder can be given, whatever they hold.

    The range decoder reads zeros past the end, and a forged string
    that ends in the escape code of a value beyond the table (Elias gamma: as many zeros as
    the value has digits, then a one) would keep it counting them forever.

    Args:
        strings: one string for each example.
        symbols: how many each string holds.
    """
    # More than decoding can use up: two bytes a symbol (a table entry costs 12 bits at most),
    # and the digits of a forged value, as many as the string may have zeros.
    bytes_needed = tf.reduce_max(tf.strings.length(strings)) + 2 * tf.cast(symbols, tf.int32)
    tail = tf.fill([bytes_needed // len(_TAIL) + 1], _TAIL)
    # The decoder looks four bytes ahead: an intact string's symbols see zeros alone.
    return tf.strings.join([strings, b"\0" * 8, tf.strings.reduce_join(tail)])


def decodable(strings: tf.Tensor, least_bits: tf.Tensor, symbols: tf.Tensor) -> tf.Tensor:
    """`long_enough` strings, `with_tail`: the check comes before anything is allocated."""
    return with_tail(long_enough(strings, least_bits), symbols)
