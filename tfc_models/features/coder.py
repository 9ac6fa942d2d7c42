"""Exact coding of quantized features with stored tables and steps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from tfc_models.byte_fields import DamagedFileError, FieldReader, FieldWriter
from tfc_models.entropy.integer_tables import IntegerTables

LARGEST_CHANNELS = 2**16
LARGEST_CLASSES = 256
LARGEST_INTEGER = 2**29
"""Features are at most this many steps."""
STRINGS_AT_ONCE = 1024
"""Strings that are decoded at once. The range decoder needs at least 16 kB for each."""
POSITIONS_AT_ONCE = 4096
"""Positions whose classes are chosen at once."""


class FeatureCoder:
    """Codes integers, rows × positions × channels, with one string per row.

    A vector has one position, a map has height × width of them. Without classes, each channel has
    one table. With classes, each class has one table per channel. The encoder chooses the class
    of every position that takes the fewest bits. A string starts with the classes of all positions,
    coded with the last table; the integers of all channels follow, position by position.

    Args:
        steps: quantization step of each channel. Features are integers times these steps.
        tables: one table per channel, or per class and channel, and a table of classes.
        classes: number of classes, or 0.
    """

    def __init__(self, steps: np.ndarray, tables: IntegerTables, classes: int = 0) -> None:
        self.steps = np.asarray(steps, np.float32)
        self.tables, self.classes = tables, classes
        expected = classes * len(self.steps) + 1 if classes else len(self.steps)
        if len(tables) != expected:
            raise ValueError(f"the coder needs {expected} tables; got {len(tables)}.")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.steps)

    def features(self, integers: np.ndarray) -> np.ndarray:
        """Returns float32 features, equal on every machine."""
        return integers.astype(np.float32) * self.steps

    def _tables_of(self, classes: np.ndarray) -> np.ndarray:
        """Returns the tables of all channels at positions of the given classes, rows × columns."""
        tables = classes[..., None].astype(np.int32) * self.channels + np.arange(self.channels)
        return tables.reshape(len(classes), classes.shape[1] * self.channels).astype(np.int32)

    def encode(self, integers: np.ndarray) -> list[bytes]:
        """Returns one string per row of integers, rows × positions × channels."""
        rows, positions, _ = integers.shape
        values = integers.reshape(rows, positions * self.channels)
        classes = np.zeros([rows, positions], np.int32)
        if not self.classes:
            return self.tables.encode(values, self._tables_of(classes))
        flat = integers.reshape(-1, self.channels)
        for at in range(0, len(flat), POSITIONS_AT_ONCE):
            part = slice(at, at + POSITIONS_AT_ONCE)
            classes.reshape(-1)[part] = self._best_classes(flat[part])
        tables = np.full([rows, positions], len(self.tables) - 1, np.int32)
        tables = np.concatenate([tables, self._tables_of(classes)], axis=1)
        return self.tables.encode(np.concatenate([classes, values], axis=1), tables)

    def _best_classes(self, integers: np.ndarray) -> np.ndarray:
        """Returns the class with the fewest bits for each row of channels."""
        of_class = self.tables.bits(np.arange(self.classes), np.array(len(self.tables) - 1))
        bits = [
            self.tables.bits(integers, k * self.channels + np.arange(self.channels)).sum(-1)
            for k in range(self.classes)
        ]
        return np.argmin(np.stack(bits, axis=-1) + of_class, axis=-1)

    def decode(self, strings: Sequence[bytes], positions: int) -> np.ndarray:
        """Returns the integers of strings, rows × positions × channels, int32.

        Raises:
            DamagedFileError: a string is not valid.
        """
        parts = [np.zeros([0, positions, self.channels], np.int32)]
        for at in range(0, len(strings), STRINGS_AT_ONCE):
            part = list(strings[at : at + STRINGS_AT_ONCE])
            parts.append(
                self._decoded(part, positions).reshape(len(part), positions, self.channels)
            )
        return np.concatenate(parts)

    def _decoded(self, strings: list[bytes], positions: int) -> np.ndarray:
        columns = positions * self.channels
        if not self.classes:
            tables = np.tile(np.arange(self.channels, dtype=np.int32), positions)
            return self.tables.decode(strings, tables, columns)

        def tables_of(classes: np.ndarray) -> np.ndarray:
            if classes.min() < 0 or classes.max() >= self.classes:
                raise DamagedFileError("damaged: a string has an unknown class.")
            return self._tables_of(classes)

        last = np.array(len(self.tables) - 1)
        return self.tables.decode_conditional(strings, last, positions, tables_of, columns)[1]

    def write(self, writer: FieldWriter) -> None:
        """Appends steps and tables."""
        writer.unsigned(self.channels)
        writer.unsigned(self.classes)
        writer.raw(self.steps.astype("<f4").tobytes())
        self.tables.write(writer)

    @classmethod
    def read(cls, reader: FieldReader) -> FeatureCoder:
        """Returns a coder that was written. Raises `DamagedFileError` if it is not valid."""
        channels = reader.unsigned(largest=LARGEST_CHANNELS)
        classes = reader.unsigned(largest=LARGEST_CLASSES)
        steps = np.frombuffer(reader.raw(4 * channels), "<f4")
        if not np.isfinite(steps).all() or not (steps > 0.0).all():
            raise DamagedFileError("damaged: a quantization step is not valid.")
        try:
            return cls(steps, IntegerTables.read(reader), classes)
        except DamagedFileError:
            raise
        except ValueError as error:
            raise DamagedFileError(f"damaged: {error}") from None

    def to_bytes(self) -> bytes:
        """Returns steps and tables as bytes."""
        writer = FieldWriter()
        self.write(writer)
        return writer.finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> FeatureCoder:
        """Returns the coder of `to_bytes`. Raises `DamagedFileError` if it is not valid."""
        reader = FieldReader(data)
        coder = cls.read(reader)
        if reader.remaining:
            raise DamagedFileError(f"damaged: {reader.remaining} bytes after the tables.")
        return coder

    def digest(self) -> bytes:
        """Returns 16 bytes that identify steps and tables."""
        return hashlib.sha256(self.to_bytes()).digest()[:16]
