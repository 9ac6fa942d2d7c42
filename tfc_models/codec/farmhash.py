"""FarmHash's 64-bit fingerprint, so that a file can be checked without TensorFlow.

TensorFlow's `Fingerprint` op computes it in a graph. The algorithm is Geoff Pike's
`farmhashna::Hash64`; its constants are part of its definition.
"""

from __future__ import annotations

import struct

_MASK = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def _rotate(value: int, by: int) -> int:
    value &= _MASK
    return ((value >> by) | (value << (64 - by))) & _MASK


def _shift_mix(value: int) -> int:
    return value ^ (value >> 47)


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _mix(u: int, v: int, mul: int) -> int:
    a = _shift_mix(((u ^ v) * mul) & _MASK)
    b = _shift_mix(((v ^ a) * mul) & _MASK)
    return (b * mul) & _MASK


def _weak(words: tuple[int, ...], a: int, b: int) -> tuple[int, int]:
    w, x, y, z = words
    a += w
    b = _rotate(b + a + z, 21)
    start = a
    a += x + y
    b += _rotate(a, 44)
    return (a + z) & _MASK, (b + start) & _MASK


def _upto16(data: bytes) -> int:
    size = len(data)
    mul = _K2 + size * 2
    if size >= 8:
        a, b = _word(data, 0) + _K2, _word(data, size - 8)
        c = (_rotate(b, 37) * mul + a) & _MASK
        d = ((_rotate(a, 25) + b) * mul) & _MASK
        return _mix(c, d, mul)
    if size >= 4:
        first, last = struct.unpack_from("<I", data)[0], struct.unpack_from("<I", data, size - 4)[0]
        return _mix((size + (first << 3)) & _MASK, last, mul)
    if size > 0:
        y = data[0] + (data[size >> 1] << 8)
        z = size + (data[size - 1] << 2)
        return (_shift_mix((y * _K2 ^ z * _K0) & _MASK) * _K2) & _MASK
    return _K2


def _upto32(data: bytes) -> int:
    size = len(data)
    mul = _K2 + size * 2
    a, b = _word(data, 0) * _K1, _word(data, 8)
    c, d = _word(data, size - 8) * mul, _word(data, size - 16) * _K2
    u = (_rotate(a + b, 43) + _rotate(c, 30) + d) & _MASK
    return _mix(u, (a + _rotate(b + _K2, 18) + c) & _MASK, mul)


def _upto64(data: bytes) -> int:
    size = len(data)
    mul = _K2 + size * 2
    a, b = _word(data, 0) * _K2, _word(data, 8)
    c, d = _word(data, size - 8) * mul, _word(data, size - 16) * _K2
    y = (_rotate(a + b, 43) + _rotate(c, 30) + d) & _MASK
    z = _mix(y, (a + _rotate(b + _K2, 18) + c) & _MASK, mul)
    e, f = _word(data, 16) * mul, _word(data, 24)
    g = ((y + _word(data, size - 32)) * mul) & _MASK
    h = ((z + _word(data, size - 24)) * mul) & _MASK
    u = (_rotate(e + f, 43) + _rotate(g, 30) + h) & _MASK
    return _mix(u, (e + _rotate(f + a, 18) + g) & _MASK, mul)


def fingerprint64(data: bytes) -> int:
    """Returns the fingerprint of `data`, equal to TensorFlow's `Fingerprint` with "farmhash64"."""
    size = len(data)
    if size <= 16:
        return _upto16(data)
    if size <= 32:
        return _upto32(data)
    if size <= 64:
        return _upto64(data)
    x = (81 * _K2 + _word(data, 0)) & _MASK
    y = (81 * _K1 + 113) & _MASK
    z = (_shift_mix((y * _K2 + 113) & _MASK) * _K2) & _MASK
    v, w = (0, 0), (0, 0)

    def block(at: int, mul: int, nine: int) -> None:
        nonlocal x, y, z, v, w
        words = struct.unpack_from("<8Q", data, at)
        x = _rotate(x + y + v[0] + words[1], 37) * mul
        y = _rotate(y + v[1] + words[6], 42) * mul
        x = (x ^ (w[1] * nine)) & _MASK
        y = (y + v[0] * nine + words[5]) & _MASK
        z = (_rotate(z + w[0], 33) * mul) & _MASK
        v = _weak(words[:4], (v[1] * mul) & _MASK, (x + w[0]) & _MASK)
        w = _weak(words[4:], (z + w[1]) & _MASK, (y + words[2]) & _MASK)
        z, x = x, z

    for at in range(0, (size - 1) // 64 * 64, 64):
        block(at, _K1, 1)
    mul = _K1 + ((z & 0xFF) << 1)
    w = ((w[0] + ((size - 1) & 63)) & _MASK, w[1])
    v = ((v[0] + w[0]) & _MASK, v[1])
    w = ((w[0] + v[0]) & _MASK, w[1])
    block(size - 64, mul, 9)
    u = (_mix(v[0], w[0], mul) + _shift_mix(y) * _K0 + z) & _MASK
    return _mix(u, (_mix(v[1], w[1], mul) + x) & _MASK, mul)
