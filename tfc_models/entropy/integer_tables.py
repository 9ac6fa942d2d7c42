"""Range coding of integers with tables that are stored beside the strings.

The entropy coders of latents keep their tables in the weights of a model. Weights and features
have no such place, so that their files contain the tables. Decoding uses integers only, which
makes it exact on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from tensorflow_compression.python.ops import gen_ops

from tfc_models.byte_fields import DamagedFileError, FieldReader, FieldWriter
from tfc_models.entropy.tables import long_enough, with_tail

PRECISIONS = (8, 10, 12, 14, 16)
"""Bits of the sum of a table's frequencies; the range coder takes at most 16."""
LARGEST_SYMBOLS = 2**16
LARGEST_TABLES = 2**22
"""Largest number of symbols in all tables of a file together."""


class IntegerTables:
    """One table of frequencies for each group of integers.

    With `escape`, the last frequency of every table is that of all integers outside of it, which
    then take an Elias gamma code as well. Without, other integers cannot be coded.

    Args:
        minima: smallest integer of each table.
        frequencies: of consecutive integers from the minimum on. The sum is a power of two.
        escape: whether the last frequency is that of all other integers.
    """

    def __init__(
        self, minima: Sequence[int], frequencies: Sequence[np.ndarray], escape: bool = False
    ) -> None:
        self.minima = np.asarray(minima, np.int32)
        self.frequencies = [np.asarray(row, np.int64) for row in frequencies]
        self.escape = escape
        if len(self.minima) != len(self.frequencies):
            raise ValueError(
                f"each table needs a minimum: {len(self.minima)} for {len(self.frequencies)}."
            )
        empty = np.zeros(0, np.int64)
        self._lookup = np.concatenate([empty, *map(self._lookup_row, self.frequencies)])
        with np.errstate(divide="ignore"):
            costs = [-np.log2(row / row.sum()) for row in self.frequencies]
        self._costs = np.concatenate([np.zeros(0), *costs])
        self._sizes = np.array([len(row) for row in self.frequencies], np.int64)
        self._offsets = np.cumsum(self._sizes) - self._sizes
        self._least_bits = np.array([row.min() for row in costs])

    @classmethod
    def of_integers(cls, groups: Sequence[np.ndarray]) -> IntegerTables:
        """Returns the tables with which each group and its table take the fewest bytes."""
        minima, frequencies = [], []
        for group in groups:
            minimum = int(group.min()) if group.size else 0
            if group.size and int(group.max()) - minimum >= LARGEST_SYMBOLS:
                raise ValueError(
                    f"the integers from {minimum} to {int(group.max())} exceed a table: use a "
                    "larger step."
                )
            counts = np.bincount(group.reshape(-1) - minimum) if group.size else np.ones(1, int)
            minima.append(minimum)
            frequencies.append(_cheapest(counts))
        return cls(minima, frequencies)

    @classmethod
    def of_probabilities(
        cls, minima: Sequence[int], probabilities: Sequence[np.ndarray], precision: int = 12
    ) -> IntegerTables:
        """Returns tables with an escape, whose probability is what is missing to 1."""
        rows = []
        for row in probabilities:
            inside = np.maximum(np.asarray(row, np.float64), 0.0)
            outside = max(1.0 - inside.sum(), 2.0**-precision)
            rows.append(_quantized(np.append(inside, outside), precision))
        return cls(minima, rows, escape=True)

    def __len__(self) -> int:
        return len(self.frequencies)

    def _lookup_row(self, frequencies: np.ndarray) -> np.ndarray:
        """Returns a table as the range coder takes it: precision, then cumulative frequencies."""
        total = int(frequencies.sum())
        precision = total.bit_length() - 1
        if total != 2**precision or precision not in PRECISIONS or frequencies.min() < 0:
            raise ValueError(f"frequencies must sum to a power of two; got {total}.")
        cumulative = np.concatenate([[0], np.cumsum(frequencies)])
        return np.concatenate([[-precision if self.escape else precision], cumulative])

    def encode(self, values: np.ndarray, tables: np.ndarray) -> list[bytes]:
        """Returns one string per row.

        Args:
            values: integers, rows × columns.
            tables: the table of each integer; broadcast to the shape of values.
        """
        tables = np.broadcast_to(np.asarray(tables, np.int32), values.shape)
        if not values.size:
            return [b""] * len(values)
        if not self.escape and (missing := np.isinf(self.bits(values, tables))).any():
            raise ValueError(f"the tables have no code for the integer {values[missing][0]}.")
        handle = gen_ops.create_range_encoder([len(values)], tf.constant(self._lookup, tf.int32))
        symbols = values.astype(np.int32) - self.minima[tables]
        handle = gen_ops.entropy_encode_index(handle, tables, symbols)
        return list(gen_ops.entropy_encode_finalize(handle).numpy())

    def bits(self, values: np.ndarray, tables: np.ndarray) -> np.ndarray:
        """Returns the bits of each integer; infinity where a table has no code for it.

        Args:
            values: integers.
            tables: the table of each integer; broadcast to the shape of values.
        """
        costs, offsets = self._costs, self._offsets
        symbols = np.asarray(values, np.int64) - self.minima[tables]
        largest = self._sizes[tables] - (1 if self.escape else 0)
        below, above = symbols < 0, symbols >= largest
        if not self.escape:
            inside = np.where(below | above, 0, symbols)
            return np.where(below | above, np.inf, costs[offsets[tables] + inside])
        # The Elias gamma code of 2 (symbol - largest) + 1, or of -2 symbol.
        distance = np.where(below, -2 * symbols, 2 * (symbols - largest) + 1)
        gamma = np.where(below | above, 2.0 * np.floor(np.log2(np.maximum(distance, 1))) + 1.0, 0.0)
        inside = np.where(below | above, largest, symbols)
        return costs[offsets[tables] + inside] + gamma

    def decode(self, strings: Sequence[bytes], tables: np.ndarray, columns: int) -> np.ndarray:
        """Returns the integers of strings, rows × columns, int32.

        Args:
            strings: one per row.
            tables: the table of each integer; broadcast to rows × columns.
            columns: integers per string.

        Raises:
            DamagedFileError: a string is shorter than its integers need.
        """
        shape = (len(strings), columns)
        if not len(strings) or not columns:
            return np.zeros(shape, np.int32)
        tables = np.broadcast_to(np.asarray(tables, np.int32), shape)
        handle = self._decoder(strings, self._least_bits[tables].sum(-1), columns)
        return self._decoded(handle, tables)[1]

    def decode_conditional(
        self,
        strings: Sequence[bytes],
        tables: np.ndarray,
        columns: int,
        tables_of: Callable[[np.ndarray], np.ndarray],
        further: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first integers of strings, and those whose tables depend on the first.

        Args:
            strings: one per row.
            tables: the table of each of the first integers; broadcast to rows × columns.
            columns: number of first integers per string.
            tables_of: maps the first integers to the tables of the others, rows × further.
            further: number of the other integers per string.

        Raises:
            DamagedFileError: a string is shorter than its integers need.
        """
        rows = len(strings)
        if not rows or not columns:
            return np.zeros((rows, columns), np.int32), np.zeros((rows, further), np.int32)
        least = np.min(self._least_bits[tables]) * columns
        handle = self._decoder(strings, least, columns + further)
        handle, first = self._decoded(handle, np.broadcast_to(tables, (rows, columns)))
        if not further:
            return first, np.zeros((rows, 0), np.int32)
        return first, self._decoded(handle, tables_of(first))[1]

    def _decoder(self, strings: Sequence[bytes], least_bits: np.ndarray, symbols: int) -> tf.Tensor:
        """Returns a range decoder, after a check of the lengths of its strings."""
        try:
            encoded = long_enough(tf.constant(list(strings)), least_bits)
        except tf.errors.InvalidArgumentError:
            raise DamagedFileError("damaged: a string is shorter than its integers.") from None
        # Strings without an escape always end, as the decoder reads zeros after them.
        encoded = with_tail(encoded, tf.constant(symbols)) if self.escape else encoded
        return gen_ops.create_range_decoder(encoded, tf.constant(self._lookup, tf.int32))

    def _decoded(self, handle: tf.Tensor, tables: np.ndarray) -> tuple[tf.Tensor, np.ndarray]:
        """Returns the range decoder and the next integers, one for each entry of tables."""
        tables = np.asarray(tables, np.int32)
        columns = [tables.shape[1]]
        handle, symbols = gen_ops.entropy_decode_index(handle, tables, columns, tf.int32)
        return handle, symbols.numpy() + self.minima[tables]

    def write(self, writer: FieldWriter) -> None:
        """Appends the tables. A frequency of 0 is followed by the number of further zeros."""
        writer.unsigned(2 * len(self) + self.escape)
        for minimum, row in zip(self.minima, self.frequencies):
            writer.signed(int(minimum))
            writer.unsigned(len(row) - 1)
            writer.unsigned(int(row.sum()).bit_length() - 1)
            at = 0
            while at < len(row) - 1:  # The last frequency follows from the sum.
                writer.unsigned(int(row[at]))
                at += 1
                if not row[at - 1]:
                    zeros = _zeros_from(row, at)
                    writer.unsigned(zeros)
                    at += zeros

    @classmethod
    def read(cls, reader: FieldReader) -> IntegerTables:
        """Returns tables that were written. Raises `DamagedFileError` if they are not valid."""
        count, escape = divmod(reader.unsigned(largest=2**32), 2)
        if count > reader.remaining:
            raise DamagedFileError(f"damaged: {count} tables in {reader.remaining} bytes.")
        minima, frequencies, symbols = [], [], 0
        for _ in range(count):
            minima.append(reader.signed())
            size = reader.unsigned(largest=LARGEST_SYMBOLS) + 1
            precision = reader.unsigned(largest=PRECISIONS[-1])
            symbols += size
            if symbols > LARGEST_TABLES:
                raise DamagedFileError("damaged: its tables are too large.")
            row = _read_frequencies(reader, size, 2**precision)
            if precision not in PRECISIONS or abs(minima[-1]) >= 2**31:
                raise DamagedFileError("damaged: a table is not valid.")
            frequencies.append(row)
        return cls(minima, frequencies, escape=bool(escape))


def _zeros_from(row: np.ndarray, at: int) -> int:
    """Returns the number of consecutive zeros from a position on, without the last number."""
    others = np.flatnonzero(row[at:-1])
    return int(others[0]) if len(others) else len(row) - 1 - at


def _read_frequencies(reader: FieldReader, size: int, total: int) -> np.ndarray:
    row = np.zeros(size, np.int64)
    at = 0
    while at < size - 1:
        row[at] = reader.unsigned(largest=total)
        at += 1
        if not row[at - 1]:
            at += reader.unsigned(largest=size - 1 - at)
    row[-1] = total - row.sum()
    if row[-1] < 0:
        raise DamagedFileError("damaged: the frequencies of a table exceed their sum.")
    return row


def _quantized(weights: np.ndarray, precision: int) -> np.ndarray:
    """Returns frequencies of the given sum, at least 1 for every weight above 0."""
    frequencies = np.zeros(len(weights), np.int64)
    present = np.flatnonzero(weights)
    if len(present) == 1:
        frequencies[present] = 2**precision
        return frequencies
    mass = tf.constant(weights[present] / weights.sum(), tf.float32)
    cumulative = gen_ops.pmf_to_quantized_cdf(mass, precision=precision).numpy()
    frequencies[present] = np.diff(cumulative)
    return frequencies


def _cheapest(counts: np.ndarray) -> np.ndarray:
    """Returns frequencies at the precision with the fewest bytes for table and integers."""
    best: tuple[float, np.ndarray] | None = None
    present = counts > 0
    for precision in PRECISIONS:
        if present.sum() > 2 ** (precision - 1):
            continue
        row = _quantized(counts, precision)
        writer = FieldWriter()
        IntegerTables([0], [row]).write(writer)
        bits = -np.log2(row[present] / row.sum()) @ counts[present]
        size = len(writer.finish()) + bits / 8.0
        if best is None or size < best[0]:
            best = (size, row)
    if best is None:
        raise ValueError(
            f"{int(present.sum())} different integers exceed a table: use a larger step."
        )
    return best[1]
