"""File format, versions 1 and 2.

======================  ==============================================================
bytes                   what
======================  ==============================================================
3                       magic, F1 54 43
1                       version: 2 of files with flags, 1 of the others
2 for each 3 letters    model name, three letters of an alphabet of 40 to two bytes,
                        ended by a padding letter
4                       digest of the weights
varint, varint          height, width
varint                  rate setting of a variable-rate model; 0 for the others
varint                  in version 2: flags, at least one; bit 0: the image is grey
varint + n, …           each stream's length and bytes
4                       fingerprint of the decoded latent
4                       fingerprint of everything before it
======================  ==============================================================

Varints are little-endian groups of seven bits, at most five bytes. Fingerprints are the first four
bytes of farmhash64. Names are at most 20 letters: a file is then at most 40 bytes longer than its
streams, 41 with flags (sides below 16,384 pixels, streams below 2 MiB).

A reader refuses flags that it does not know. A further optional field gets a flag of its own, so
that files without it stay readable by releases that do not know it.

This module needs neither TensorFlow nor NumPy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfc_models.codec.farmhash import fingerprint64

MAGIC = b"\xf1TC"
VERSION, FLAGS_VERSION = 1, 2
"""Format versions: of files without flags, of files with flags."""
GREY = 1
"""Flag: the image has one channel."""
KNOWN_FLAGS = GREY
SUFFIX = ".tfcm"
LETTERS = "\0abcdefghijklmnopqrstuvwxyz0123456789-._"
NAME_LENGTH = 20
DIGEST_BYTES = 4
FINGERPRINT_BYTES = 4
VARINT_BYTES = 5
MAX_SIDE = 2**24 - 1
"""Largest side in the format."""

DEFAULT_QUALITY, LARGEST_QUALITY = 50, 100
"""Largest rate setting of models of many rates; the smallest is 0."""


class BitstreamError(ValueError):
    """Raised if a file cannot be decoded. The message states why in one line."""


class UnknownModelError(BitstreamError):
    """Raised for a file of a model that is not in the zoo."""


@dataclass(frozen=True)
class Header:
    """Contents of a file's header."""

    version: int
    model: str
    digest: str
    height: int
    width: int
    rate: int
    stream_bytes: tuple[int, ...]
    latent_fingerprint: str
    file_fingerprint: str
    bytes_total: int
    flags: int = 0

    @property
    def is_grey(self) -> bool:
        """Whether the file decodes to one channel."""
        return bool(self.flags & GREY)

    @property
    def bits_per_pixel(self) -> float:
        """Bits of the whole file, including the header, per pixel."""
        return 8.0 * self.bytes_total / (self.height * self.width)


def pack_name(name: str) -> bytes:
    """Returns a model name as stored in files."""
    if not re.fullmatch(rf"[a-z0-9._-]{{1,{NAME_LENGTH}}}", name):
        raise ValueError(
            f"a codec's name is 1 to {NAME_LENGTH} of a-z, 0-9, '.', '_' and '-'; got {name!r}."
        )
    padded = name + "\0" * (3 - len(name) % 3)
    codes = [LETTERS.index(letter) for letter in padded]
    groups = zip(codes[::3], codes[1::3], codes[2::3])
    return b"".join((a * 1600 + b * 40 + c).to_bytes(2, "big") for a, b, c in groups)


def unpack_name(data: bytes) -> tuple[str, int]:
    """Returns the name at the start of `data`, and the number of bytes read."""
    letters = ""
    for at in range(0, min(len(data) - 1, 2 * (NAME_LENGTH // 3 + 1)), 2):
        code = int.from_bytes(data[at : at + 2], "big")
        if code >= 64000:
            break
        letters += LETTERS[code // 1600] + LETTERS[code // 40 % 40] + LETTERS[code % 40]
        if code % 40 == 0:
            name = letters.rstrip("\0")
            if name and "\0" not in name:
                return name, at + 2
            break
    raise BitstreamError("damaged: the model's name cannot be read.")


def varint(value: int) -> bytes:
    """Returns a number as stored in files."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for i in range(VARINT_BYTES):
        if at + i >= end:
            break
        value |= (data[at + i] & 127) << (7 * i)
        if data[at + i] < 128:
            return value, at + i + 1
    raise BitstreamError("damaged: a length in it cannot be read.")


def fingerprint(data: bytes) -> bytes:
    """Returns the first bytes of the farmhash64 fingerprint."""
    return fingerprint64(data).to_bytes(8, "little")[:FINGERPRINT_BYTES]


def inspect(data: bytes) -> Header:
    """Reads and checks everything in a file that needs no model.

    Raises:
        BitstreamError: not a file of this format, of a newer version, or damaged.
    """
    data = as_bytes(data)
    check_start(data)
    end = len(data) - 2 * FINGERPRINT_BYTES
    if end < 8 or fingerprint(data[:-FINGERPRINT_BYTES]) != data[-FINGERPRINT_BYTES:]:
        raise BitstreamError(
            "damaged: the file was cut short or changed (its fingerprint differs)."
        )
    name, size = unpack_name(data[4:end])
    at = 4 + size + DIGEST_BYTES
    digest = data[at - DIGEST_BYTES : at]
    height, at = _read_varint(data, at, end)
    width, at = _read_varint(data, at, end)
    rate, at = _read_varint(data, at, end)
    flags = 0
    if data[3] == FLAGS_VERSION:
        flags, at = _read_varint(data, at, end)
        if not flags:
            raise BitstreamError("damaged: the flags that its version requires are missing.")
        if flags & ~KNOWN_FLAGS:
            raise BitstreamError(f"written by a newer release (flags {flags:#x}): install it.")
    streams = []
    while at < end:
        length, at = _read_varint(data, at, end)
        streams.append(length)
        at += length
    if at != end or not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise BitstreamError("damaged: its sizes contradict each other.")
    return Header(
        version=data[3],
        model=name,
        digest=digest.hex(),
        height=height,
        width=width,
        rate=rate,
        stream_bytes=tuple(streams),
        latent_fingerprint=data[end : end + FINGERPRINT_BYTES].hex(),
        file_fingerprint=data[end + FINGERPRINT_BYTES :].hex(),
        bytes_total=len(data),
        flags=flags,
    )


def claimed_size(data: bytes) -> tuple[int, int]:
    """Returns width and height in a header, without checking fingerprints or limits.

    Raises:
        BitstreamError: the header cannot be read.
    """
    check_start(data)
    end = len(data)
    at = 4 + unpack_name(data[4:])[1] + DIGEST_BYTES
    height, at = _read_varint(data, at, end)
    width, _ = _read_varint(data, at, end)
    return width, height


def as_bytes(data: bytes) -> bytes:
    """Returns the bytes of a file. Raises TypeError for names and other types."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"give the bytes of a file, as open(path, 'rb').read() does; got {type(data).__name__}."
        )
    return bytes(data)


def check_start(data: bytes) -> None:
    """Raises BitstreamError for data of another format or of a newer version."""
    if not data:
        raise BitstreamError("the file is empty.")
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise BitstreamError(f"not a tfc-models file: it begins with {data[:4].hex(' ')}.")
    if len(data) > 3 and not data[3]:
        raise BitstreamError("damaged: there is no format version 0.")
    if len(data) > 3 and data[3] > FLAGS_VERSION:
        raise BitstreamError(
            f"format version {data[3]}: this release reads versions {VERSION} and "
            f"{FLAGS_VERSION}; install a newer one."
        )
