"""What a picture costs. Every metric takes two batches of sRGB 0–255 NHWC, one value a pair.

Distances between sets (`frechet_distance`, `kernel_distance`) take features, one row a picture.
"""

from tfc_models.metrics.backbones import BACKBONES
from tfc_models.metrics.learned import LPIPS_VARIABLE, Lpips, lpips, read_weights
from tfc_models.metrics.nlpd import NLPD_MIN_SIDE, nlpd
from tfc_models.metrics.psnr import mse, psnr
from tfc_models.metrics.semantic import SemanticSubstitute
from tfc_models.metrics.sets import features_of, frechet_distance, kernel_distance
from tfc_models.metrics.structural import MS_SSIM_MIN_SIDE, SSIM_MIN_SIDE, decibels, ms_ssim, ssim

__all__ = [
    "BACKBONES",
    "LPIPS_VARIABLE",
    "MS_SSIM_MIN_SIDE",
    "NLPD_MIN_SIDE",
    "SSIM_MIN_SIDE",
    "Lpips",
    "SemanticSubstitute",
    "decibels",
    "features_of",
    "frechet_distance",
    "kernel_distance",
    "lpips",
    "ms_ssim",
    "mse",
    "nlpd",
    "psnr",
    "read_weights",
    "ssim",
]
