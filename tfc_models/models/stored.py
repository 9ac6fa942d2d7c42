"""Stored precision of weights, and the digest that identifies them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

DIGEST_BYTES = 4


def storable(state: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns values as files hold them: integers unchanged, other values as float16.

    Kernels keep 8 significant bits, the precision of bfloat16 convolutions. The zero bits make a
    compressed file a third smaller.
    """
    out = {}
    for name, value in state.items():
        value = np.asarray(value)
        if np.issubdtype(value.dtype, np.floating):
            value = value.astype(np.float32)
            value = (_bfloat16(value) if name.endswith("/kernel") else value).astype(np.float16)
        out[name] = value
    return out


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """Returns float32 values rounded to bfloat16's 8 significant bits, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return bits.astype(np.uint32).view(np.float32)


def digest(state: dict[str, Any]) -> bytes:
    """Returns four bytes of the SHA-256 of all names, types, shapes and values."""
    sha = hashlib.sha256()
    for name, value in sorted(storable(state).items()):
        value = value.astype(value.dtype.newbyteorder("<"))
        sha.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        sha.update(value.tobytes())
    return sha.digest()[:DIGEST_BYTES]


def check_fit(expected: dict[str, Any], state: dict[str, Any], model: str) -> None:
    """Raises ValueError unless a state has the expected values in their shapes."""
    for name, value in expected.items():
        if name not in state:
            raise ValueError(f"the weights are not those of {model}: they have no {name}.")
        expected_shape, shape = tuple(np.shape(value)), tuple(np.shape(state[name]))
        if shape != expected_shape:
            raise ValueError(
                f"the weights are of another {model}: {name} has the shape {shape}, here "
                f"{expected_shape}."
            )
