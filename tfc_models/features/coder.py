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
    """Codes features, rows × positions × channels, with one string per row.

    A vector has one position, a map has height × width of them. Without classes, each channel has
    one table. With classes, each class has one table per channel. The encoder chooses the class
    of every position that takes the fewest bits. A string starts with the classes of all positions,
    coded with the last table; the integers of all channels follow, position by position. A decoded
    feature is (integer + offset) · step in float32, with the offset of its class and channel.

    Args:
        steps: quantization step of each channel.
        offsets: classes × channels, or 1 × channels without classes.
        tables: one table per channel, or per class and channel, and a table of classes.
        classes: number of classes, or 0.
    """

    def __init__(
        self, steps: np.ndarray, offsets: np.ndarray, tables: IntegerTables, classes: int = 0
    ) -> None:
        self.steps = np.asarray(steps, np.float32)
        self.offsets = np.asarray(offsets, np.float32)
        self.tables, self.classes = tables, classes
        count = max(classes, 1) * len(self.steps)
        if self.offsets.size != count or len(tables) != count + bool(classes):
            raise ValueError(f"the tables do not fit {len(self.steps)} channels.")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.steps)

    def quantize(self, features: np.ndarray) -> np.ndarray:
        """Returns features as decoded, … × channels, float32.

        Raises:
            ValueError: the features are not finite, or too large.
        """
        shape = features.shape
        return self._features(*self._quantized(features.reshape(-1, self.channels))).reshape(shape)

    def _features(self, classes: np.ndarray, integers: np.ndarray) -> np.ndarray:
        return (integers.astype(np.float32) + self.offsets[classes]) * self.steps

    def _quantized(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns classes and integers of features, positions × channels."""
        latents = features.astype(np.float32) / self.steps
        if not np.isfinite(latents).all():
            raise ValueError(
                "features contain NaN or infinite values: check the input and the weights of the "
                "backbone."
            )
        if latents.size and np.abs(latents).max() > LARGEST_INTEGER:
            raise ValueError(
                f"features exceed {LARGEST_INTEGER} quantization steps: normalize them or train "
                "the layer on features of this range."
            )
        classes = np.zeros(len(latents), np.int32)
        for at in range(0, len(latents) if self.classes else 0, POSITIONS_AT_ONCE):
            part = slice(at, at + POSITIONS_AT_ONCE)
            classes[part] = self._best_classes(latents[part])
        return classes, np.rint(latents - self.offsets[classes]).astype(np.int32)

    def _best_classes(self, latents: np.ndarray) -> np.ndarray:
        """Returns the class with the fewest bits for each position."""
        bits = [
            self.tables.bits(
                np.rint(latents - offsets), k * self.channels + np.arange(len(offsets))
            )
            for k, offsets in enumerate(self.offsets)
        ]
        of_class = self.tables.bits(np.arange(self.classes), np.array(len(self.tables) - 1))
        return np.argmin(np.sum(bits, axis=-1) + of_class[:, None], axis=0)

    def _tables_of(self, classes: np.ndarray) -> np.ndarray:
        """Returns the tables of all channels at positions of the given classes, rows × columns."""
        tables = classes[..., None].astype(np.int32) * self.channels + np.arange(self.channels)
        return tables.reshape(len(classes), classes.shape[1] * self.channels).astype(np.int32)

    def encode(self, features: np.ndarray) -> list[bytes]:
        """Returns one string per row of features, rows × positions × channels.

        Raises:
            ValueError: the features are not finite, or too large.
        """
        rows, positions, channels = features.shape
        classes, integers = self._quantized(features.reshape(rows * positions, channels))
        classes, values = (
            classes.reshape(rows, positions),
            integers.reshape(rows, positions * channels),
        )
        tables = self._tables_of(classes)
        if self.classes:
            of_classes = np.full([rows, positions], len(self.tables) - 1, np.int32)
            tables = np.concatenate([of_classes, tables], axis=1)
            values = np.concatenate([classes, values], axis=1)
        return self.tables.encode(values, tables)

    def decode(self, strings: Sequence[bytes], positions: int) -> np.ndarray:
        """Returns the features of strings, rows × positions × channels, float32.

        Raises:
            DamagedFileError: a string is not valid.
        """
        parts = [np.zeros([0, positions, self.channels], np.float32)]
        for at in range(0, len(strings), STRINGS_AT_ONCE):
            part = list(strings[at : at + STRINGS_AT_ONCE])
            classes, integers = self._decoded(part, positions)
            integers = integers.reshape(len(part), positions, self.channels)
            parts.append(self._features(classes, integers))
        return np.concatenate(parts)

    def _decoded(self, strings: list[bytes], positions: int) -> tuple[np.ndarray, np.ndarray]:
        columns = positions * self.channels
        if not self.classes:
            tables = np.tile(np.arange(self.channels, dtype=np.int32), positions)
            integers = self.tables.decode(strings, tables, columns)
            return np.zeros([len(strings), positions], np.int32), integers

        def tables_of(classes: np.ndarray) -> np.ndarray:
            if classes.min() < 0 or classes.max() >= self.classes:
                raise DamagedFileError("damaged: a string has an unknown class.")
            return self._tables_of(classes)

        last = np.array(len(self.tables) - 1)
        return self.tables.decode_conditional(strings, last, positions, tables_of, columns)

    def write(self, writer: FieldWriter) -> None:
        """Appends steps, offsets and tables."""
        writer.unsigned(self.channels)
        writer.unsigned(self.classes)
        writer.raw(self.steps.astype("<f4").tobytes())
        writer.raw(self.offsets.astype("<f4").tobytes())
        self.tables.write(writer)

    @classmethod
    def read(cls, reader: FieldReader) -> FeatureCoder:
        """Returns a coder that was written. Raises `DamagedFileError` if it is not valid."""
        channels = reader.unsigned(largest=LARGEST_CHANNELS)
        classes = reader.unsigned(largest=LARGEST_CLASSES)
        steps = np.frombuffer(reader.raw(4 * channels), "<f4")
        offsets = np.frombuffer(reader.raw(4 * channels * max(classes, 1)), "<f4")
        if not (np.isfinite(steps).all() and (steps > 0.0).all() and np.isfinite(offsets).all()):
            raise DamagedFileError("damaged: a quantization step or an offset is not valid.")
        try:
            return cls(steps, offsets.reshape(-1, channels), IntegerTables.read(reader), classes)
        except DamagedFileError:
            raise
        except ValueError as error:
            raise DamagedFileError(f"damaged: {error}") from None

    def to_bytes(self) -> bytes:
        """Returns steps, offsets and tables as bytes."""
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
        """Returns 16 bytes that identify steps, offsets and tables."""
        return hashlib.sha256(self.to_bytes()).digest()[:16]
