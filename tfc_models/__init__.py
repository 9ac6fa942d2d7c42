"""Learned image compression for TensorFlow.

>>> import tfc_models
>>> codec = tfc_models.load("default")
>>> data = codec.compress(image)        # uint8, height × width × 3
>>> image = codec.decompress(data)
>>> tfc_models.inspect(data)              # reads a header, without TensorFlow

Importing this package does not import TensorFlow or tensorflow_compression. They are imported on
first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tfc_models.codec.container import BitstreamError, Header, inspect
from tfc_models.zoo import entries, list_models

if TYPE_CHECKING:
    from tfc_models.codec.codec import Codec

__version__ = "0.1.0"
__all__ = [
    "BitstreamError",
    "Codec",
    "Header",
    "entries",
    "inspect",
    "list_models",
    "load",
    "register_ops",
]

_LAZY = {
    "Codec": "tfc_models.codec.codec",
    "load": "tfc_models.codec.loading",
    "register_ops": "tfc_models.codec.ops",
}
_SUBMODULES = (
    "analysis",
    "codec",
    "decoders",
    "entropy",
    "features",
    "layers",
    "metrics",
    "models",
    "realism",
    "weights",
    "zoo",
)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"tfc_models.{name}")
    raise AttributeError(f"module 'tfc_models' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_SUBMODULES})
