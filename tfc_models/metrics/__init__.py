"""What a picture costs. Every metric takes two batches of sRGB 0–255 NHWC, one value a pair.

Distances between sets (`frechet_distance`, `kernel_distance`) take features, one row a picture.
"""

from tfc_models.metrics.backbones import BACKBONES, Backbone
from tfc_models.metrics.learned import Lpips, lpips
from tfc_models.metrics.named import METRICS, Metric, named
from tfc_models.metrics.nlpd import NLPD_MIN_SIDE, nlpd
from tfc_models.metrics.perceptual import pim, pim_bands
from tfc_models.metrics.psnr import mse, psnr
from tfc_models.metrics.semantic import SemanticSubstitute, saved_semantic, semantic
from tfc_models.metrics.sets import (
    features_of,
    frechet_distance,
    kernel_distance,
    patches_of,
)
from tfc_models.metrics.structural import MS_SSIM_MIN_SIDE, SSIM_MIN_SIDE, decibels, ms_ssim, ssim
from tfc_models.remote import LPIPS_VARIABLE, SEMANTIC_VARIABLE, read_weights

__all__ = [
    "BACKBONES",
    "LPIPS_VARIABLE",
    "METRICS",
    "MS_SSIM_MIN_SIDE",
    "NLPD_MIN_SIDE",
    "SEMANTIC_VARIABLE",
    "SSIM_MIN_SIDE",
    "Backbone",
    "Lpips",
    "Metric",
    "SemanticSubstitute",
    "decibels",
    "features_of",
    "frechet_distance",
    "kernel_distance",
    "lpips",
    "ms_ssim",
    "mse",
    "named",
    "nlpd",
    "patches_of",
    "pim",
    "pim_bands",
    "psnr",
    "read_weights",
    "saved_semantic",
    "semantic",
    "ssim",
]
