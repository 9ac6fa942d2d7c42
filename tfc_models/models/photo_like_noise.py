"""Synthetic images with the spectrum and contrast of photos."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def photo_like_noise(count: int = 4, side: int = 256) -> tf.Tensor:
    """Returns seeded noise with the 1/f amplitude spectrum and the contrast of photos, 0–255."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = 1.0 / side
    white = np.fft.rfft2(rng.normal(size=[count, 4, side, side]))
    maps = np.fft.irfft2(white / frequency, s=[side, side])
    maps = maps / maps.std(axis=(2, 3), keepdims=True)
    # Luminance varies much more than colour.
    images = 127.5 + 55.0 * maps[:, :1] + 12.0 * maps[:, 1:]
    return tf.constant(np.clip(images, 0, 255).transpose(0, 2, 3, 1), tf.float32)
