"""Compression of network weights: rounding, entropy coding and files.

Imports `tfc_models.entropy`, `tfc_models.layers` and top-level modules only.
"""

from __future__ import annotations

from tfc_models.weights.coded_tensor import CodedTensor
from tfc_models.weights.weight_file import SUFFIX, WeightFile, decode, encode

__all__ = ["SUFFIX", "CodedTensor", "WeightFile", "decode", "encode"]
