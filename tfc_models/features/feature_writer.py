"""Writer of files of compressed vectors or maps, and their format.

A file has five parts; all fixed numbers are little-endian:

1. `TFCFEAT` and a byte with the version;
2. the header: its size (uint32), then varints for the rank, the shape of an example and the
   examples per block, then steps and tables (see `FeatureCoder.write`), then the CRC-32 of the
   header (uint32);
3. one string per block. All blocks but the last have the same number of examples;
4. the index: size (uint32) and CRC-32 (uint32) of each block;
5. the end: number of examples (uint64), number of blocks (uint64), CRC-32 of the index and of
   both numbers (uint32).
"""

from __future__ import annotations

import os
import pathlib
import struct
import types
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfc_models.byte_fields import FieldWriter
from tfc_models.features.coder import FeatureCoder
from tfc_models.features.layer import CompressibleFeatures, checked

MAGIC, VERSION = b"TFCFEAT", 1
BLOCK_NUMBERS = 2**14
"""Numbers per block by default: decoding them takes about a millisecond."""
LARGEST_BLOCK_NUMBERS = 2**24
LARGEST_HEADER = 2**27
SIZE, ENTRY, COUNTS = struct.Struct("<I"), struct.Struct("<II"), struct.Struct("<QQ")
END = COUNTS.size + SIZE.size
START = len(MAGIC) + 1


class FeatureWriter:
    """Writes features to a file as they arrive. The file appears when the writer is closed.

    >>> with FeatureWriter("photos.tfcf", layer) as writer:
    ...     for images in batches:
    ...         writer.write(backbone(images))

    If the `with` statement ends with an exception, an older file of this name is kept.

    Args:
        path: of the file.
        layer: frozen layer, or its coder.
        shape: shape of one example; by default, that of the first that is written.
        block: examples per block; by default, as many as have about 16,384 numbers. Smaller blocks
            make random access faster, larger ones make the file smaller.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        layer: CompressibleFeatures | FeatureCoder,
        shape: tuple[int, ...] | None = None,
        block: int | None = None,
    ) -> None:
        self.path = pathlib.Path(path)
        self._layer = layer
        self._coder = layer.coder if isinstance(layer, CompressibleFeatures) else layer
        if block is not None and block < 1:
            raise ValueError(f"block is the number of examples per block, at least 1; got {block}.")
        self._shape: tuple[int, ...] | None = None
        self._block = block or 0
        self._pending: list[np.ndarray] = []
        self._count = 0
        self._index = bytearray()
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._file = self._partial.open("wb")
        if shape is not None:
            self._start(shape)

    def _start(self, shape: tuple[int, ...]) -> None:
        """Writes the header."""
        numbers = int(np.prod(shape))
        if len(shape) not in (1, 3) or shape[-1] != self._coder.channels or not numbers:
            self._discard()
            raise ValueError(
                f"shape is that of one example with {self._coder.channels} channels; got {shape}."
            )
        self._shape = shape
        self._block = self._block or max(1, BLOCK_NUMBERS // numbers)
        if self._block * numbers > LARGEST_BLOCK_NUMBERS:
            self._discard()
            raise ValueError(
                f"a block of {self._block} examples is too large: set a smaller block."
            )
        header = FieldWriter()
        header.unsigned(len(shape))
        for size in shape:
            header.unsigned(size)
        header.unsigned(self._block)
        self._coder.write(header)
        data = header.finish()
        self._file.write(MAGIC + bytes([VERSION]) + SIZE.pack(len(data)) + data)
        self._file.write(SIZE.pack(zlib.crc32(data)))

    def write(self, features: Any) -> None:
        """Appends examples.

        Args:
            features: batch × channels, or batch × height × width × channels.
        """
        if isinstance(self._layer, CompressibleFeatures):
            values = self._layer.checked(features)
        else:
            values = checked(features, self._coder.channels)
        if self._shape is None:
            self._start(values.shape[1:])
        if values.shape[1:] != self._shape:
            raise ValueError(
                f"all examples of a file have one shape, {self._shape}; got {values.shape[1:]}."
            )
        if not np.all(np.isfinite(values)):
            raise ValueError("features contain NaN or infinite values: check the backbone.")
        self._count += len(values)
        positions = int(np.prod(values.shape[1:-1]))
        self._pending.append(values.reshape(len(values), positions, self._coder.channels))
        if sum(map(len, self._pending)) >= self._block:
            self._write_blocks()

    def _write_blocks(self) -> None:
        """Writes pending examples that fill blocks."""
        values = np.concatenate(self._pending)
        full = len(values) // self._block * self._block
        for at in range(0, full, self._block):
            self._write_block(values[at : at + self._block])
        self._pending = [values[full:]]

    def _write_block(self, values: np.ndarray) -> None:
        (string,) = self._coder.encode(values.reshape(1, -1, self._coder.channels))
        self._index += ENTRY.pack(len(string), zlib.crc32(string))
        self._file.write(string)

    def close(self) -> None:
        """Completes the file and gives it its name. Idempotent."""
        if self._file.closed:
            return
        if self._shape is None:
            self._start((self._coder.channels,))
        if self._pending:
            self._write_blocks()
            if len(self._pending[0]):
                self._write_block(self._pending[0])
        end = bytes(self._index) + COUNTS.pack(self._count, len(self._index) // ENTRY.size)
        with self._file:
            self._file.write(end + SIZE.pack(zlib.crc32(end)))
            self._file.flush()
            os.fsync(self._file.fileno())
        os.replace(self._partial, self.path)

    def _discard(self) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self._discard()


def write_features(
    path: str | os.PathLike[str],
    layer: CompressibleFeatures | FeatureCoder,
    batches: Iterable[Any],
    block: int | None = None,
) -> None:
    """Writes batches of features to a file; see `FeatureWriter`."""
    with FeatureWriter(path, layer, block=block) as writer:
        for features in batches:
            writer.write(features)
