"""Range coding tables: built once and stored with the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

_TAIL = b"\x55" * 2**14


class FrozenTables:
    """Mixin for tfc entropy models that builds tables in an explicit step.

    tfc builds tables in the constructor, from a prior that must be final. Here the model trains
    first. `freeze` then builds tables, or takes stored ones: floating-point integrals may be
    rounded differently on another machine.
    """

    range_coder_bits = 12
    # Of tfc's entropy models.
    compression: bool
    cdf: tf.Variable
    cdf_offset: tf.Variable
    _build_tables: Any
    _init_compression: Any

    def _table_prior(self) -> Any:
        """Returns the distributions that have tables."""
        raise NotImplementedError

    @property
    def frozen(self) -> bool:
        """Whether the tables exist, so that `compress` and `decompress` work."""
        return self.compression

    def _freeze_tables(self, state: dict[str, Any] | None) -> None:
        if self.frozen:
            return
        given = self._given_tables()
        if state is not None:
            cdf, offset = state["cdf"], state["cdf_offset"]
        elif given is not None:
            cdf, offset = given
        else:
            cdf, offset = self._build_tables(
                self._table_prior(), self.range_coder_bits, self._table_offset()
            )
        self._compression, self._stateless = True, False
        # tfc's check fails on strings with a tail (see `decodable`). The container's
        # fingerprints detect more.
        self.decode_sanity_check = False
        self._init_compression(cdf, offset, None)
        self.least_bits = least_bits(self.cdf.numpy())

    def _given_tables(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns tables and offsets that do not depend on a prior; None: there are none."""
        return None

    def _table_offset(self) -> np.ndarray | None:
        """Returns the distance of each table's values from integers; None: zero."""
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
    """Returns the bits of each table's cheapest symbol, a bound that reveals forged sizes."""
    total = 1 << abs(int(cdf[0]))
    ends = np.flatnonzero(cdf == total) + 1  # The last number of each table, and nowhere else.
    likeliest = [np.diff(row[1:]).max() for row in np.split(cdf, ends[:-1])]
    return -np.log2(np.asarray(likeliest) / total)


def long_enough(strings: tf.Tensor, least_bits: tf.Tensor) -> tf.Tensor:
    """Returns strings after a check that they are long enough.

    Args:
        strings: one string per example.
        least_bits: bits of the cheapest symbols, all together.
    """
    bits = 8.0 * tf.cast(tf.strings.length(strings), tf.float64)
    # The range coder omits trailing bytes, at most 4.
    enough = tf.reduce_all(bits + 32.0 >= 0.999 * tf.cast(least_bits, tf.float64))
    check = tf.debugging.Assert(enough, ["tfc-models: damaged: a stream is shorter than its size"])
    with tf.control_dependencies([check]):
        return tf.identity(strings)


def with_tail(strings: tf.Tensor, symbols: tf.Tensor) -> tf.Tensor:
    """Returns strings with a tail, on which the range decoder terminates whatever they hold.

    The range decoder reads zeros past the end. A forged string that ends in the escape code of a
    value beyond the table (Elias gamma: as many zeros as the value has digits, then a one) would
    keep it counting zeros forever.

    Args:
        strings: one string per example.
        symbols: number of symbols in each string.
    """
    # More than decoding can consume: two bytes per symbol (a table entry costs 12 bits at most)
    # and the digits of a forged value, as many as the string may have zeros.
    bytes_needed = tf.reduce_max(tf.strings.length(strings)) + 2 * tf.cast(symbols, tf.int32)
    tail = tf.fill([bytes_needed // len(_TAIL) + 1], _TAIL)
    # The decoder reads four bytes ahead, so that an intact string is followed by zeros.
    return tf.strings.join([strings, b"\0" * 8, tf.strings.reduce_join(tail)])


def decodable(strings: tf.Tensor, least_bits: tf.Tensor, symbols: tf.Tensor) -> tf.Tensor:
    """Returns `long_enough` strings `with_tail`; the check precedes any allocation."""
    return with_tail(long_enough(strings, least_bits), symbols)
