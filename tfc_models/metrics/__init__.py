"""Image metrics. Each takes two NHWC batches, sRGB 0 to 255, and returns one value per pair.

Distances between sets (`frechet_distance`, `kernel_distance`) take features, one row per image.
`METRICS` and `EXTERNAL` hold a record of each metric by name. Importing this package does not
import TensorFlow. It imports `perceptual` and top-level modules of tfc_models, never `models`.
"""

from tfc_models.metrics.backbones import BACKBONES, Backbone
from tfc_models.metrics.lpips import LPIPS_VARIABLE, Lpips, lpips
from tfc_models.metrics.nlpd import NLPD_MIN_SIDE, nlpd
from tfc_models.metrics.pim import PIM_BANDS_VARIABLE, PIM_VARIABLE, pim, pim_bands
from tfc_models.metrics.psnr import mse, psnr
from tfc_models.metrics.record import ExternalMetric, Metric, Weights
from tfc_models.metrics.registry import (
    EXTERNAL,
    METRICS,
    metrics_with_weights,
    named,
    register,
    tunable_metrics,
)
from tfc_models.metrics.semantic import (
    SEMANTIC_VARIABLE,
    SemanticSubstitute,
    saved_semantic,
    semantic,
)
from tfc_models.metrics.sets import (
    features_of,
    frechet_distance,
    kernel_distance,
    patches_of,
)
from tfc_models.metrics.structural import MS_SSIM_MIN_SIDE, SSIM_MIN_SIDE, decibels, ms_ssim, ssim
from tfc_models.remote import read_weights

__all__ = [
    "BACKBONES",
    "EXTERNAL",
    "LPIPS_VARIABLE",
    "METRICS",
    "MS_SSIM_MIN_SIDE",
    "NLPD_MIN_SIDE",
    "PIM_BANDS_VARIABLE",
    "PIM_VARIABLE",
    "SEMANTIC_VARIABLE",
    "SSIM_MIN_SIDE",
    "Backbone",
    "ExternalMetric",
    "Lpips",
    "Metric",
    "SemanticSubstitute",
    "Weights",
    "decibels",
    "features_of",
    "frechet_distance",
    "kernel_distance",
    "lpips",
    "metrics_with_weights",
    "ms_ssim",
    "mse",
    "named",
    "nlpd",
    "patches_of",
    "pim",
    "pim_bands",
    "psnr",
    "read_weights",
    "register",
    "saved_semantic",
    "semantic",
    "ssim",
    "tunable_metrics",
]
