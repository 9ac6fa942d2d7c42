"""Codec between images and bytes: the file format, tiling, encoder search, and SavedModels.

This package imports `zoo`, `models`, `metrics` and the packages below them. Reading a header does
not import TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tfc_models.codec.container import BitstreamError, Header, inspect
from tfc_models.limits import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE

if TYPE_CHECKING:
    from tfc_models.codec.codec import Codec
    from tfc_models.codec.loading import codec_for, load
    from tfc_models.codec.ops import register_ops
    from tfc_models.codec.target import compress_to_bytes, compress_to_psnr

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "DEFAULT_MAX_SIDE",
    "BitstreamError",
    "Codec",
    "Header",
    "codec_for",
    "compress_to_bytes",
    "compress_to_psnr",
    "inspect",
    "load",
    "register_ops",
]

_LAZY = {
    "Codec": "codec",
    "codec_for": "loading",
    "compress_to_bytes": "target",
    "compress_to_psnr": "target",
    "load": "loading",
    "register_ops": "ops",
}


def __getattr__(name: str) -> Any:
    # Reading a header must not take seconds to import TensorFlow.
    if name in _LAZY:
        return getattr(importlib.import_module(f"tfc_models.codec.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'tfc_models.codec' has no attribute {name!r}")
