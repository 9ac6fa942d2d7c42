"""File format of compressed weights (.tfcw), version 1.

======================  ==============================================================
bytes                   content
======================  ==============================================================
4                       magic, "TFCW"
1                       version
1                       coder of the strings: 0 range coder, 1 Elias gamma code
varint + n              header, deflated: metadata as JSON, then for each tensor its
                        name, kind, shape and steps, then the frequency tables
varint + n              arrays that are stored without loss, deflated
varint, varint + n, …   number of strings, then the strings
8                       first bytes of the SHA-256 of everything before
======================  ==============================================================

The integers of all tensors are concatenated and divided into strings of equal length, which are
decoded in parallel. Every tensor has one frequency table, or, if that is smaller, one for each
position of its spatial axes (of each frequency, after a Fourier transform).
The Elias gamma code (`run_length_gamma_encode` of tensorflow-compression) has no tables, one string
for all integers, and run lengths of zeros.

Decoding uses integers and exact products only, so that it is the same on every machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Union

import numpy as np
import tensorflow as tf
from tensorflow_compression.python.ops import gen_ops

from tfc_models.byte_fields import DamagedFileError, FieldReader, FieldWriter
from tfc_models.entropy.integer_tables import IntegerTables
from tfc_models.remote import COMPRESSED_MAGIC
from tfc_models.weights.coded_tensor import DIRECT, FOURIER, CodedTensor, check
from tfc_models.weights.steps import LARGEST_CODE, SMALLEST_CODE

MAGIC = COMPRESSED_MAGIC
VERSION = 1
SUFFIX = ".tfcw"
CHECKSUM_BYTES = 8
STRING_INTEGERS = 2**18
RANGE, ELIAS_GAMMA = "range", "elias-gamma"
CODERS = (RANGE, ELIAS_GAMMA)
LARGEST_HEADER = 2**26
STRINGS_AT_ONCE = 16
LARGEST_RUN = 2**20  # zeros per bit of a string
LARGEST_TENSORS = 2**31  # bytes of all tensors together

_TRANSFORMS = (DIRECT, FOURIER)
_DTYPES = tuple(
    np.dtype(name).str
    for name in ("<f4", "<f2", "<i4", "<i2", "u1", "<u2", "i1", "<i8", "<f8", "?")
)
_LOSSLESS = len(_TRANSFORMS)

Tensor = Union[CodedTensor, np.ndarray]


class WeightFile(NamedTuple):
    """Contents of a file: tensors by name, and metadata."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]

    def values(self) -> dict[str, np.ndarray]:
        """Returns the tensors as arrays."""
        return {
            name: tensor.value if isinstance(tensor, CodedTensor) else tensor
            for name, tensor in self.tensors.items()
        }


def encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], coder: str = RANGE) -> bytes:
    """Returns the file of tensors: `CodedTensor`s, or arrays that are stored without loss."""
    if coder not in CODERS:
        raise ValueError(f"coder is one of {', '.join(CODERS)}; got {coder!r}.")
    coded = {name: t for name, t in tensors.items() if isinstance(t, CodedTensor)}
    for coded_tensor in coded.values():
        check(coded_tensor)
    by_range = coder == RANGE
    divided = {name: by_range and _best_divided(tensor) for name, tensor in coded.items()}
    header = FieldWriter()
    header.text(json.dumps(metadata, sort_keys=True, separators=(",", ":")))
    header.unsigned(len(tensors))
    raw = FieldWriter()
    for name, tensor in tensors.items():
        header.text(name)
        if isinstance(tensor, CodedTensor):
            header.unsigned(2 * _TRANSFORMS.index(tensor.transform) + divided[name])
            _write_shape(header, tensor.shape)
            header.unsigned(tensor.integers.shape[0])
            _write_codes(header, tensor.row_codes)
            _write_codes(header, tensor.column_codes)
        else:
            _write_array(header, raw, tensor, name)
    groups = [group for name, t in coded.items() for group in _groups(t, divided[name])]
    if by_range:
        tables = IntegerTables.of_integers(groups)
        tables.write(header)
        strings = _strings(tables, groups)
    else:
        values = np.concatenate([np.zeros(0, np.int32), *groups])
        strings = [gen_ops.run_length_gamma_encode(values).numpy()]
    writer = FieldWriter()
    writer.raw(MAGIC + bytes([VERSION, CODERS.index(coder)]))
    writer.sized(zlib.compress(header.finish(), 9))
    writer.sized(zlib.compress(raw.finish(), 9))
    writer.unsigned(len(strings))
    for string in strings:
        writer.sized(string)
    data = writer.finish()
    return data + _checksum(data)


def decode(data: bytes) -> WeightFile:
    """Returns the contents of a file. Raises `DamagedFileError` if it is not intact."""
    if data[:4] != MAGIC:
        raise DamagedFileError("not a file of compressed weights (.tfcw).")
    if data[4:5] != bytes([VERSION]):
        raise DamagedFileError("of a later release of tfc-models: update it.")
    content, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if _checksum(content) != checksum:
        raise DamagedFileError("damaged: the checksum does not match.")
    reader = FieldReader(content)
    reader.raw(5)
    by_range = reader.unsigned(largest=len(CODERS) - 1) == CODERS.index(RANGE)
    header = FieldReader(_inflated(reader.sized(), LARGEST_HEADER))
    raw = FieldReader(_inflated(reader.sized(), LARGEST_TENSORS))
    metadata = _metadata(header.text())
    tensors: dict[str, Tensor] = {}
    coded: dict[str, tuple[CodedTensor, bool]] = {}
    total = 0
    for _ in range(header.unsigned(largest=header.remaining)):
        name = header.text()
        kind = header.unsigned(largest=2 * _LOSSLESS)
        shape = _read_shape(header)
        total += 4 * math.prod(shape)
        if total > LARGEST_TENSORS:
            raise DamagedFileError("damaged: its tensors exceed 2 GiB.")
        if kind == 2 * _LOSSLESS:
            tensors[name] = _read_array(header, raw, shape)
        else:
            tensors[name] = tensor = _read_coded(header, shape, _TRANSFORMS[kind // 2])
            coded[name] = tensor, bool(kind % 2)
    tables = IntegerTables.read(header) if by_range else None
    strings = [reader.sized() for _ in range(reader.unsigned(largest=reader.remaining))]
    sizes = [group.size for t, is_divided in coded.values() for group in _groups(t, is_divided)]
    integers = _integers(tables, strings, sizes)
    at = 0
    for name, (tensor, _) in coded.items():
        part = integers[at : at + tensor.integers.size].reshape(tensor.integers.shape)
        tensors[name] = tensor._replace(integers=part)
        at += tensor.integers.size
    if header.remaining or raw.remaining or reader.remaining:
        raise DamagedFileError("damaged: it has more than its tensors need.")
    return WeightFile(tensors, metadata)


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:CHECKSUM_BYTES]


def _metadata(text: str) -> dict[str, Any]:
    try:
        metadata = json.loads(text)
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise DamagedFileError("damaged: its metadata cannot be read.")
    return metadata


def _inflated(data: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        result = inflater.decompress(data, limit)
    except zlib.error:
        raise DamagedFileError("damaged: its header cannot be inflated.") from None
    if inflater.unconsumed_tail:
        raise DamagedFileError("damaged: its header is too large.")
    return result


def _groups(tensor: CodedTensor, divided: bool) -> list[np.ndarray]:
    """Returns the integers that share a table, in their order in the file."""
    positions = math.prod(tensor.shape[:-2]) if divided else 1
    return list(tensor.integers.reshape(positions, -1))


def _best_divided(tensor: CodedTensor) -> bool:
    """Returns whether one table for each position takes fewer bytes than one for the tensor."""
    if len(tensor.shape) < 3 or not tensor.integers.size:
        return False
    sizes = []
    for divided in (False, True):
        groups = _groups(tensor, divided)
        tables = IntegerTables.of_integers(groups)
        writer = FieldWriter()
        tables.write(writer)
        sizes.append(len(writer.finish()) + sum(len(s) for s in _strings(tables, groups)))
    return sizes[1] < sizes[0]


def _strings(tables: IntegerTables, groups: list[np.ndarray]) -> list[bytes]:
    """Returns strings of equally many integers; the last integer is repeated to fill them."""
    values = np.concatenate([np.zeros(0, np.int32), *groups])
    if not values.size:
        return []
    indexes = np.repeat(np.arange(len(groups)), [group.size for group in groups])
    rows, columns = _division(values.size)
    missing = rows * columns - values.size
    values, indexes = (np.pad(v, (0, missing), "edge") for v in (values, indexes))
    return tables.encode(values.reshape(rows, columns), indexes.reshape(rows, columns))


def _integers(tables: IntegerTables | None, strings: list[bytes], sizes: list[int]) -> np.ndarray:
    count = sum(sizes)
    if tables is None:
        if len(strings) != 1 or count > LARGEST_RUN * (8 * len(strings[0]) + 1):
            raise DamagedFileError("damaged: its string is not that of its tensors.")
        try:
            return gen_ops.run_length_gamma_decode(strings[0], [count]).numpy()
        except tf.errors.OpError:
            raise DamagedFileError("damaged: its string cannot be decoded.") from None
    rows, columns = _division(count)
    if len(strings) != (rows if count else 0) or len(tables) != len(sizes):
        raise DamagedFileError("damaged: its strings or tables are not those of its tensors.")
    if not count:
        return np.zeros(0, np.int32)
    ends = np.cumsum(sizes)
    integers = np.empty(rows * columns, np.int32)
    for first in range(0, rows, STRINGS_AT_ONCE):
        part = strings[first : first + STRINGS_AT_ONCE]
        start, end = first * columns, (first + len(part)) * columns
        positions = np.minimum(np.arange(start, end), count - 1)
        indexes = np.searchsorted(ends, positions, "right").astype(np.int32)
        decoded = tables.decode(part, indexes.reshape(len(part), columns), columns)
        integers[start:end] = decoded.reshape(-1)
    return integers[:count]


def _division(count: int) -> tuple[int, int]:
    rows = max(1, -(-count // STRING_INTEGERS))
    return rows, -(-count // rows)


def _write_shape(header: FieldWriter, shape: Iterable[int]) -> None:
    shape = tuple(shape)
    header.unsigned(len(shape))
    for side in shape:
        header.unsigned(side)


def _read_shape(header: FieldReader) -> tuple[int, ...]:
    return tuple(header.unsigned(largest=2**31) for _ in range(header.unsigned(largest=8)))


def _write_codes(header: FieldWriter, codes: np.ndarray) -> None:
    """Appends the number of codes, and each as the difference from the one before."""
    header.unsigned(len(codes))
    for difference in np.diff(codes, prepend=0):
        header.signed(int(difference))


def _read_codes(header: FieldReader) -> np.ndarray:
    count = header.unsigned(largest=header.remaining)
    codes = np.cumsum([header.signed() for _ in range(count)])
    if count and (codes.min() < SMALLEST_CODE or codes.max() > LARGEST_CODE):
        raise DamagedFileError("damaged: a step is out of range.")
    return codes.astype(np.int32)


def _read_coded(header: FieldReader, shape: tuple[int, ...], transform: str) -> CodedTensor:
    """Returns a tensor without its integers, which follow later in the file."""
    rows = header.unsigned(largest=2**31)
    size = math.prod(shape)
    if rows * (size // max(rows, 1)) != size:
        raise DamagedFileError("damaged: a tensor's rows do not divide it.")
    integers = np.broadcast_to(np.int32(0), (rows, size // max(rows, 1)))
    tensor = CodedTensor(shape, integers, _read_codes(header), _read_codes(header), transform)
    try:
        check(tensor)
    except ValueError as error:
        raise DamagedFileError(f"damaged: {error}") from None
    return tensor


def _write_array(header: FieldWriter, raw: FieldWriter, array: np.ndarray, name: str) -> None:
    """Appends an array: integers as differences along the first axis, in planes of bytes."""
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder("<").str
    if dtype not in _DTYPES:
        raise ValueError(f"{name} has the type {array.dtype}, which a .tfcw file cannot hold.")
    header.unsigned(2 * _LOSSLESS)
    _write_shape(header, array.shape)
    header.unsigned(_DTYPES.index(dtype))
    raw.raw(_planes(array.astype(dtype)))


def _planes(array: np.ndarray) -> bytes:
    if array.dtype.kind in "iu" and array.ndim:
        array = np.diff(array, axis=0, prepend=array.dtype.type(0))
    flat = np.ascontiguousarray(array).reshape(-1, 1).view(np.uint8)
    return flat.T.tobytes()


def _read_array(header: FieldReader, raw: FieldReader, shape: tuple[int, ...]) -> np.ndarray:
    dtype = np.dtype(_DTYPES[header.unsigned(largest=len(_DTYPES) - 1)])
    planes = np.frombuffer(raw.raw(math.prod(shape) * dtype.itemsize), np.uint8)
    array = np.ascontiguousarray(planes.reshape(dtype.itemsize, -1).T).view(dtype).reshape(shape)
    if dtype.kind in "iu" and array.ndim:
        array = np.cumsum(array, axis=0, dtype=dtype)
    return array.astype(dtype.newbyteorder("="))
