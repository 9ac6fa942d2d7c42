"""Compressible features: a layer for any backbone, exact coding, files with random access.

This package imports `entropy`, `layers` and top-level modules of tfc_models only.
"""

from __future__ import annotations

from tfc_models.features.coder import FeatureCoder
from tfc_models.features.feature_file import FeatureFile
from tfc_models.features.feature_writer import FeatureWriter, write_features
from tfc_models.features.layer import CompressibleFeatures

__all__ = [
    "CompressibleFeatures",
    "FeatureCoder",
    "FeatureFile",
    "FeatureWriter",
    "write_features",
]
