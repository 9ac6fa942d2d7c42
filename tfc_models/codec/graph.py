"""File format in TensorFlow operations, for SavedModels.

Every check runs before the operations that depend on it. Control dependencies keep TensorFlow from
allocating an image before the file is validated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfc_models.codec import container

ERROR = "tfc-models: "
_BYTES = [bytes([i]) for i in range(256)]


class Fields(NamedTuple):
    """Contents of a file that the decoder needs."""

    height: tf.Tensor
    width: tf.Tensor
    rate: tf.Tensor
    flags: tf.Tensor
    streams: tuple[tf.Tensor, ...]
    latent_fingerprint: tf.Tensor


def checked(value: tf.Tensor, condition: tf.Tensor, *message: str | tf.Tensor) -> tf.Tensor:
    """Returns `value` if `condition` holds; raises InvalidArgumentError otherwise."""
    text = tf.strings.join([ERROR, *message])
    with tf.control_dependencies([tf.debugging.Assert(condition, [text])]):
        return tf.identity(value)


def fingerprint(data: tf.Tensor) -> tf.Tensor:
    """Returns four bytes, as a string, of the farmhash64 of a tensor's bytes."""
    data = tf.bitcast(tf.reshape(data, [-1]), tf.uint8)
    hashed = tf.raw_ops.Fingerprint(data=tf.reshape(data, [1, -1]), method="farmhash64")[0]
    return _string(tf.cast(hashed[: container.FINGERPRINT_BYTES], tf.int32))


def string_fingerprint(data: tf.Tensor) -> tf.Tensor:
    """Returns four bytes, as a string, of the farmhash64 of a string."""
    return fingerprint(tf.io.decode_raw(data, tf.uint8))


def latent_fingerprint(
    latent: tf.Tensor, height: tf.Tensor, width: tf.Tensor, rate: tf.Tensor, flags: tf.Tensor
) -> tf.Tensor:
    """Returns the fingerprint of a latent's integers, image size, rate setting and flags."""
    sizes = tf.stack([tf.cast(value, tf.int32) for value in (height, width, rate)])
    flags = tf.cast(flags, tf.int32)
    flags = tf.repeat(flags, tf.cast(flags > 0, tf.int32))  # None: as files without have it.
    return fingerprint(tf.concat([tf.reshape(latent, [-1]), sizes, flags], 0))


def claimed_size(data: tf.Tensor) -> tf.Tensor:
    """Returns height and width in the header of a PNG, JPEG, GIF or BMP file, without decoding it.

    Other data gives zeros; the decoder refuses it.
    """
    start = tf.strings.join([tf.strings.substr(data, 0, 32), bytes(32)])
    start = tf.cast(tf.io.decode_raw(start, tf.uint8)[:32], tf.int64)

    def begins(*signature: int) -> tf.Tensor:
        return tf.reduce_all(start[: len(signature)] == list(signature))

    def big(first: int) -> tf.Tensor:
        return tf.reduce_sum(start[first : first + 4] * [2**24, 2**16, 2**8, 1])

    def little(first: int, count: int) -> tf.Tensor:
        return tf.reduce_sum(start[first : first + count] * [2 ** (8 * i) for i in range(count)])

    def jpeg() -> tf.Tensor:
        return tf.cast(tf.io.extract_jpeg_shape(data)[:2], tf.int64)

    def bmp() -> tf.Tensor:
        height = little(22, 4)  # Negative (two's complement) if rows are stored from the top down.
        height = tf.minimum(height, 2**32 - height)
        return tf.stack([height, little(18, 4)])

    return tf.case(
        [
            (begins(0x89, 0x50, 0x4E, 0x47), lambda: tf.stack([big(20), big(16)])),
            (begins(0xFF, 0xD8, 0xFF), jpeg),
            (begins(0x47, 0x49, 0x46), lambda: tf.stack([little(8, 2), little(6, 2)])),
            (begins(0x42, 0x4D), bmp),
        ],
        default=lambda: tf.zeros([2], tf.int64),
    )


def _string(values: tf.Tensor) -> tf.Tensor:
    return tf.strings.reduce_join(tf.gather(tf.constant(_BYTES), values))


def varint(value: tf.Tensor) -> tf.Tensor:
    """Returns a number as a string of one to five bytes."""
    value = tf.cast(value, tf.int64)
    place = tf.range(container.VARINT_BYTES, dtype=tf.int64)
    groups = tf.bitwise.bitwise_and(tf.bitwise.right_shift(value, 7 * place), 127)
    size = tf.reduce_sum(
        tf.cast(value >= tf.bitwise.left_shift(tf.ones_like(place), 7 * place), tf.int64)
    )
    size = tf.maximum(size, 1)
    more = tf.where(place < size - 1, tf.constant(128, tf.int64), 0)
    return _string(tf.cast((groups + more)[:size], tf.int32))


def write(
    name: str,
    digest: bytes,
    height: tf.Tensor,
    width: tf.Tensor,
    rate: tf.Tensor,
    flags: tf.Tensor,
    streams: tuple[tf.Tensor, ...],
    latent: tf.Tensor,
) -> tf.Tensor:
    """Returns a whole file as a string."""
    flagged = flags > 0
    start = [container.MAGIC + bytes([v]) for v in (container.FLAGS_VERSION, container.VERSION)]
    parts = [tf.where(flagged, *start), tf.constant(container.pack_name(name) + digest)]
    parts += [varint(height), varint(width), varint(rate), tf.where(flagged, varint(flags), b"")]
    for stream in streams:
        parts += [varint(tf.strings.length(stream)), stream]
    body = tf.strings.join([*parts, latent_fingerprint(latent, height, width, rate, flags)])
    return tf.strings.join([body, string_fingerprint(body)])


def read(
    data: tf.Tensor,
    name: str,
    digests: Sequence[bytes],
    stream_count: int,
    max_pixels: tf.Tensor,
    max_side: tf.Tensor,
    largest_rate: int = 0,
) -> Fields:
    """Parses a file of a model with one of some digests. Fails with the reason if it is invalid."""
    data, at = _checked_start(data, name, digests)
    end = tf.strings.length(data) - 2 * container.FINGERPRINT_BYTES
    padded = tf.pad(
        tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int64), [[0, container.VARINT_BYTES]]
    )
    height, at = _read_varint(padded, at, end)
    width, at = _read_varint(padded, at, end)
    rate, at = _read_varint(padded, at, end)
    flagged = tf.equal(tf.strings.substr(data, 3, 1), bytes([container.FLAGS_VERSION]))
    # A file without flags has the length of a stream here, which can be read as well.
    flags, after = _read_varint(padded, at, end)
    flags, at = tf.where(flagged, flags, 0), tf.where(flagged, after, at)
    legal = (height >= 1) & (width >= 1)
    legal &= (height <= container.MAX_SIDE) & (width <= container.MAX_SIDE)
    height = checked(height, legal, "damaged: its image would have no pixels, or too many")
    size = tf.strings.join([tf.strings.as_string(width), "x", tf.strings.as_string(height)])
    within = (height * width <= max_pixels) & (tf.maximum(height, width) <= max_side)
    limits = tf.strings.join(
        [
            tf.strings.as_string(max_pixels),
            " pixels and ",
            tf.strings.as_string(max_side),
            " a side",
        ]
    )
    height = checked(
        height, within, "over the limit: the image is ", size, "; the decoder allows ", limits
    )
    setting = tf.strings.as_string(rate)
    known = f"0 to {largest_rate}" if largest_rate else "one rate, setting 0"
    height = checked(
        height, rate <= largest_rate, "rate setting ", setting, f": this model has {known}"
    )
    there = tf.equal(flagged, flags > 0)
    height = checked(height, there, "damaged: the flags that its version requires are missing")
    known = flags <= container.KNOWN_FLAGS
    number = tf.strings.as_string(flags)
    height = checked(height, known, "written by a newer release (flags ", number, "): install it")
    streams = []
    for _ in range(stream_count):
        length, at = _read_varint(padded, at, end)
        at = checked(at, length <= tf.cast(end - at, tf.int64), "damaged: a stream is cut short")
        streams.append((at, tf.cast(length, tf.int32)))
        at += tf.cast(length, tf.int32)
    data = checked(data, (at == end) & (height > 0), "damaged: it holds more than its streams")
    return Fields(
        tf.cast(height, tf.int32),
        tf.cast(width, tf.int32),
        rate,
        flags,
        tuple(tf.strings.substr(data, start, length) for start, length in streams),
        tf.strings.substr(data, end, container.FINGERPRINT_BYTES),
    )


def _checked_start(
    data: tf.Tensor, name: str, digests: Sequence[bytes]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Checks magic, version, fingerprint, model and weights in this order."""
    data = checked(data, tf.strings.length(data) > 0, "the file is empty")
    magic = tf.equal(tf.strings.substr(data, 0, 3), container.MAGIC)
    data = checked(data, magic, "not a tfc-models file")
    version = tf.strings.substr(data, 3, 1)
    data = checked(data, tf.not_equal(version, b"\0"), "damaged: there is no format version 0")
    known = container.VERSION, container.FLAGS_VERSION
    readable = [tf.equal(version, bytes([number])) for number in known]
    data = checked(
        data,
        tf.reduce_any(readable) | (tf.strings.length(data) < 4),
        f"written by a newer release: this one reads format versions {known[0]} and {known[1]}",
    )
    long_enough = tf.strings.length(data) >= 20
    data = checked(data, long_enough, "damaged: the file was cut short")
    body = tf.strings.length(data) - container.FINGERPRINT_BYTES
    intact = tf.equal(
        tf.strings.substr(data, body, container.FINGERPRINT_BYTES),
        string_fingerprint(tf.strings.substr(data, 0, body)),
    )
    data = checked(
        data, intact, "damaged: the file was cut short or changed (its fingerprint differs)"
    )
    packed = container.pack_name(name)
    file_name, size = _read_name(data)
    file_digest = _hex(tf.strings.substr(data, 4 + size, container.DIGEST_BYTES))
    same_weights = tf.reduce_any(tf.equal(file_digest, [digest.hex() for digest in digests]))
    same_model = same_weights & tf.equal(tf.strings.substr(data, 4, len(packed)), packed)
    data = checked(
        data,
        same_model,
        "compressed with model ",
        file_name,
        " (weights ",
        file_digest,
        f"), which is not this one: {name} (weights {digests[0].hex()})",
    )
    return data, tf.constant(4 + len(packed) + container.DIGEST_BYTES)


def _read_name(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the name in a file and its number of bytes, without trusting either."""
    groups = container.NAME_LENGTH // 3 + 1
    values = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int32)
    values = tf.pad(values, [[0, 4 + 2 * groups]])[4 : 4 + 2 * groups]
    codes = values[::2] * 256 + values[1::2]
    # Up to and with the first group that ends in padding.
    going_on = tf.cast((codes % 40 > 0) & (codes < 64000), tf.int32)
    count = tf.minimum(tf.reduce_sum(tf.math.cumprod(going_on)) + 1, groups)
    codes = tf.minimum(codes[:count], 63999)
    letters = tf.reshape(tf.stack([codes // 1600, codes // 40 % 40, codes % 40], 1), [-1])
    table = tf.constant(["", *container.LETTERS[1:]])
    return tf.strings.reduce_join(tf.gather(table, letters)), 2 * count


def _hex(data: tf.Tensor) -> tf.Tensor:
    table = tf.constant([f"{i:02x}" for i in range(256)])
    return tf.strings.reduce_join(
        tf.gather(table, tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int32))
    )


def _read_varint(padded: tf.Tensor, at: tf.Tensor, end: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    place = tf.range(container.VARINT_BYTES, dtype=tf.int64)
    window = padded[at : at + container.VARINT_BYTES]
    size = tf.reduce_sum(tf.math.cumprod(tf.cast(window >= 128, tf.int32))) + 1
    at = checked(
        at,
        (size <= container.VARINT_BYTES) & (at + size <= end),
        "damaged: a length in it cannot be read",
    )
    groups = tf.bitwise.left_shift(tf.bitwise.bitwise_and(window, 127), 7 * place)
    value = tf.reduce_sum(tf.where(place < tf.cast(size, tf.int64), groups, 0))
    with tf.control_dependencies([at]):
        return tf.identity(value), at + size
