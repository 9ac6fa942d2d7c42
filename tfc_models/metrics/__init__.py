"""What a picture costs. Every metric takes two batches of sRGB 0–255 NHWC, one value a pair."""

from tfc_models.metrics.psnr import mse, psnr
from tfc_models.metrics.structural import MS_SSIM_MIN_SIDE, decibels, ms_ssim

__all__ = ["MS_SSIM_MIN_SIDE", "decibels", "ms_ssim", "mse", "psnr"]
