"""Masked convolutions, which read previously decoded latents only."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.layers.conv import Conv2D


def raster_mask(size: int) -> np.ndarray:
    """Returns the mask of taps above and to the left, which raster order decodes before."""
    mask = np.zeros([size, size], np.float32)
    mask[: size // 2] = 1.0
    mask[size // 2, : size // 2] = 1.0
    return mask


def checkerboard_mask(size: int) -> np.ndarray:
    """Returns the mask of taps on the squares of the other color."""
    y, x = np.mgrid[:size, :size]
    return ((y + x - 2 * (size // 2)) % 2).astype(np.float32)


class MaskedConv2D(Conv2D):
    """Convolution with taps that are fixed at zero.

    Van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks" (ICML 2016), for the
    mask in raster order; He, Zheng, Sun, Wang, Qin, "Checkerboard Context Model for Efficient
    Learned Image Compression" (CVPR 2021), for the other.
    """

    def __init__(self, filters: int, mask: np.ndarray, **options: Any) -> None:
        super().__init__(filters, mask.shape[0], **options)
        self.mask = mask

    @property
    def kernel(self) -> tf.Tensor:
        """Masked kernel as size×size×inputs×filters."""
        return super().kernel * self.mask[:, :, None, None]
