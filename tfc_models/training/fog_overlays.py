"""Images under overlays of fog or of another image, in pairs of different strength."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

# Opacity of the weaker overlay, and how much is added to it for the denser one.
OPACITY, EXTRA_OPACITY = (0.3, 0.75), (0.01, 0.12)
# Exponents by which the amplitude spectra of fog fall with frequency, and how much less those of
# finer fog fall. Finer fog resembles ImageNet-C's, and is more like the image that it covers.
EXPONENT, EXPONENT_REDUCTION = (1.6, 3.2), (0.1, 0.7)
# Fog is generated on a plane larger than the crop by this factor. A crop then often contains only
# bright or only dark fog.
FOG_SCALE = 4
FOG_SHARE = 0.75  # of the overlays; the others are other images


def apply_overlays(images: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns each image under two overlays; the second is denser or finer-grained.

    Three of four overlays are gray fog. Both overlays of an image share one noise sample, and the
    second is denser, finer-grained, or both. The other overlays are the next image of the batch,
    and the second is denser. The seed determines all random choices.
    """
    images = tf.cast(images, tf.float32)
    count = tf.shape(images)[0]
    draws = iter(tf.unstack(tf.random.stateless_uniform([6, count, 1, 1, 1], seed)))

    def uniform(limits: tuple[float, float]) -> tf.Tensor:
        return limits[0] + (limits[1] - limits[0]) * next(draws)

    opacity, extra_opacity = uniform(OPACITY), uniform(EXTRA_OPACITY)
    exponent, reduction = uniform(EXPONENT), uniform(EXPONENT_REDUCTION)
    choice, is_fog = next(draws), next(draws) < FOG_SHARE
    extra_opacity = tf.where(is_fog & (choice < 0.4), 0.0, extra_opacity)
    reduction = tf.where(choice > 0.7, 0.0, reduction)
    noise = tf.random.stateless_normal([count, 1, *_plane_size(images)], seed + 1)
    spectrum = tf.signal.rfft2d(noise)
    other_images = tf.roll(images, 1, axis=0)
    outputs = []
    for alpha, power in (
        (opacity, exponent),
        (opacity + extra_opacity, exponent - reduction),
    ):
        overlay = tf.where(is_fog, 255.0 * _fog(spectrum, power, images), other_images)
        outputs.append((1.0 - alpha) * images + alpha * overlay)
    return outputs[0], outputs[1]


def _plane_size(images: tf.Tensor) -> list[int]:
    """Returns the height and width of the plane on which fog is generated."""
    return [FOG_SCALE * side for side in images.shape[1:3]]


def _fog(spectrum: tf.Tensor, power: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Returns gray textures from 0 to 1, N×H×W×1, with amplitudes of frequency to the −power."""
    height, width = _plane_size(images)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    radius[0, 0] = np.inf
    amplitude = tf.exp(-power * np.log(radius).astype(np.float32))
    textures = tf.signal.irfft2d(spectrum * tf.cast(amplitude, tf.complex64))
    minimum = tf.reduce_min(textures, axis=(2, 3), keepdims=True)
    maximum = tf.reduce_max(textures, axis=(2, 3), keepdims=True)
    textures = (textures - minimum) / (maximum - minimum + 1e-9)
    return textures[:, 0, : height // FOG_SCALE, : width // FOG_SCALE, None]
