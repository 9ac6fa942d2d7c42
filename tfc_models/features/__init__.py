"""Compressible features: a layer for any backbone, exact coding.

This package imports `entropy`, `layers` and top-level modules of tfc_models only.
"""

from __future__ import annotations

from tfc_models.features.coder import FeatureCoder
from tfc_models.features.layer import CompressibleFeatures

__all__ = ["CompressibleFeatures", "FeatureCoder"]
