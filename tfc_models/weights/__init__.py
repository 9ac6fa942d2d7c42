"""Compression of network weights: rounding, entropy coding and files.

Imports `tfc_models.entropy`, `tfc_models.layers` and top-level modules only.
"""

from __future__ import annotations

from tfc_models.weights.coded_tensor import CodedTensor
from tfc_models.weights.conversion import (
    compress,
    compressible,
    decompress,
    estimated_bytes,
    plain,
)
from tfc_models.weights.layers import (
    CompressibleConv1D,
    CompressibleConv2D,
    CompressibleDense,
    CompressibleDepthwiseConv2D,
    CompressibleEmbedding,
)
from tfc_models.weights.weight_file import SUFFIX, WeightFile, decode, encode

__all__ = [
    "SUFFIX",
    "CodedTensor",
    "CompressibleConv1D",
    "CompressibleConv2D",
    "CompressibleDense",
    "CompressibleDepthwiseConv2D",
    "CompressibleEmbedding",
    "WeightFile",
    "compress",
    "compressible",
    "decode",
    "decompress",
    "encode",
    "estimated_bytes",
    "plain",
]
