"""The precision that weights are kept in, and the digest that tells them apart."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

DIGEST_BYTES = 4


def storable(state: dict[str, Any]) -> dict[str, np.ndarray]:
    """Values as files hold them: integers as they are, the rest as float16.

    Of a kernel, 8 significant bits are kept, all that bfloat16 convolutions see; the bits
    left zero make a compressed file a third smaller.
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
    """Float32 rounded to bfloat16's 8 significant bits, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return bits.astype(np.uint32).view(np.float32)


def digest(state: dict[str, Any]) -> bytes:
    """Of every value's name, type, shape and bytes."""
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
        here, there = tuple(np.shape(value)), tuple(np.shape(state[name]))
        if here != there:
            raise ValueError(
                f"the weights are of another {model}: {name} has the shape {there}, here {here}."
            )
