"""Files of compressed vectors or maps, with random access."""

from __future__ import annotations

import collections
import mmap
import os
import pathlib
import zlib
from typing import Any

import numpy as np

from tfc_models.byte_fields import DamagedFileError, FieldReader
from tfc_models.features.coder import FeatureCoder
from tfc_models.features.feature_writer import (
    COUNTS,
    END,
    ENTRY,
    LARGEST_BLOCK_NUMBERS,
    LARGEST_HEADER,
    MAGIC,
    SIZE,
    START,
    VERSION,
)
from tfc_models.features.layer import CompressibleFeatures

KEPT_BLOCKS = 16
"""Decoded blocks that are kept in memory."""


class FeatureFile:
    """File of features, of which blocks are decoded on demand.

    >>> file = FeatureFile("photos.tfcf")
    >>> len(file), file[7].shape, file[10:20].shape, file[[3, 1, 2]].shape

    Decoding needs the file only. With a layer, its tables and steps must be those of the file.

    Args:
        path: of the file.
        layer: frozen layer, or its coder.

    Raises:
        DamagedFileError: the file is damaged, or no file of features.
        ValueError: the file was written with another layer.
    """

    def __init__(
        self, path: str | os.PathLike[str], layer: CompressibleFeatures | FeatureCoder | None = None
    ) -> None:
        self.path = pathlib.Path(path)
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < START + 2 * SIZE.size + END:
                raise self._damaged("it is too short for a file of features")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            self._read_index(self._read_header())
        except DamagedFileError as error:
            raise self._damaged(str(error).removeprefix("damaged: ").rstrip(".")) from None
        if layer is not None:
            coder = layer.coder if isinstance(layer, CompressibleFeatures) else layer
            if coder.digest() != self.coder.digest():
                raise ValueError(
                    f"{self.path} was written with another layer: open it without a layer, or "
                    "with the weights that it was written with."
                )
        self._kept: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()

    def _damaged(self, problem: str) -> DamagedFileError:
        return DamagedFileError(f"{self.path}: {problem}: use an intact copy.")

    def _read_header(self) -> int:
        """Reads the header; returns where blocks start."""
        if self._data[: len(MAGIC)] != MAGIC:
            raise DamagedFileError("it is not a file of features")
        if self._data[len(MAGIC)] != VERSION:
            raise DamagedFileError(f"its version {self._data[len(MAGIC)]} is not supported")
        (size,) = SIZE.unpack_from(self._data, START)
        start = START + SIZE.size
        if size > min(LARGEST_HEADER, len(self._data) - start - SIZE.size - END):
            raise DamagedFileError("its header is cut short")
        header = self._data[start : start + size]
        if SIZE.unpack_from(self._data, start + size)[0] != zlib.crc32(header):
            raise DamagedFileError("the checksum of its header does not match")
        reader = FieldReader(header)
        rank = reader.unsigned(largest=3)
        self.shape = tuple(reader.unsigned(largest=LARGEST_BLOCK_NUMBERS) for _ in range(rank))
        self.block = reader.unsigned(largest=LARGEST_BLOCK_NUMBERS)
        self.coder = FeatureCoder.read(reader)
        numbers = int(np.prod(self.shape, dtype=object)) * self.block
        if rank not in (1, 3) or self.shape[-1] != self.coder.channels:
            raise DamagedFileError("the shape of its examples is not valid")
        if not 0 < numbers <= LARGEST_BLOCK_NUMBERS or reader.remaining:
            raise DamagedFileError("its header is not valid")
        return start + size + SIZE.size

    def _read_index(self, start: int) -> None:
        end = len(self._data) - END
        self._count, blocks = COUNTS.unpack_from(self._data, end)
        index = end - blocks * ENTRY.size
        if index < start:
            raise DamagedFileError("it is cut short, or its end is damaged")
        (checksum,) = SIZE.unpack_from(self._data, end + COUNTS.size)
        with memoryview(self._data) as view:
            computed = zlib.crc32(view[index : end + COUNTS.size])
        if computed != checksum:
            raise DamagedFileError("the checksum of its index does not match")
        entries = np.frombuffer(self._data[index:end], "<u4").reshape(-1, 2)
        self._checksums = entries[:, 1]
        self._offsets = start + np.concatenate([[0], np.cumsum(entries[:, 0], dtype=np.int64)])
        if self._offsets[-1] != index or blocks != -(-self._count // self.block):
            raise DamagedFileError("its index does not match its size")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> np.ndarray:
        """Returns one example for an integer, and several for a slice or for integers."""
        if isinstance(index, slice):
            return self._examples(np.arange(*index.indices(len(self))))
        indexes = np.asarray(index, np.int64 if isinstance(index, list) and not index else None)
        if indexes.dtype.kind not in "iu" or indexes.ndim > 1:
            raise TypeError(
                f"an index is an integer, a slice or a list of integers; got {index!r}."
            )
        positive = np.where(indexes < 0, indexes.astype(np.int64) + len(self), indexes)
        outside = (positive < 0) | (positive >= len(self))
        if outside.any():
            first = indexes.reshape(-1)[outside.reshape(-1)][0]
            raise IndexError(f"there is no example {first}: {self.path} has {len(self)}.")
        result = self._examples(positive.reshape(-1).astype(np.int64))
        return result if indexes.ndim else result[0]

    def _examples(self, indexes: np.ndarray) -> np.ndarray:
        result = np.empty([len(indexes), *self.shape], np.float32)
        blocks = indexes // self.block
        for block in np.unique(blocks):
            selected = np.flatnonzero(blocks == block)
            result[selected] = self._decoded(int(block))[indexes[selected] - block * self.block]
        return result

    def _decoded(self, block: int) -> np.ndarray:
        """Returns the examples of a block."""
        if block in self._kept:
            self._kept.move_to_end(block)
            return self._kept[block]
        string = self._data[self._offsets[block] : self._offsets[block + 1]]
        if zlib.crc32(string) != self._checksums[block]:
            raise self._damaged(f"the checksum of block {block} does not match")
        examples = min(self.block, len(self) - block * self.block)
        positions = int(np.prod(self.shape[:-1]))
        try:
            features = self.coder.decode([string], examples * positions)
        except DamagedFileError as error:
            raise self._damaged(f"block {block}: {error}".rstrip(".")) from None
        self._kept[block] = features.reshape(examples, *self.shape)
        if len(self._kept) > KEPT_BLOCKS:
            self._kept.popitem(last=False)
        return self._kept[block]

    def close(self) -> None:
        """Closes the file."""
        self._data.close()

    def __enter__(self) -> FeatureFile:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()
