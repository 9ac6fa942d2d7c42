"""Pictures behind veils of fog, or of another picture: of two, the thicker hides more."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

# How much of a picture the thinner veil hides, and how much more the thicker one does, if so.
HIDDEN, MORE = (0.3, 0.75), (0.01, 0.12)
# By which powers of the frequency the spectra of the thinner fog fall, and by how much less those
# of the thicker: it is finer, as ImageNet-C's is, and so more like what it hides.
ROUGH, FINER = (1.6, 3.2), (0.1, 0.7)
# Fog is larger than a crop, by this factor: within one it is often all bright, or all dark.
WIDER = 4


def veiled(pictures: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Every picture behind a veil, and behind a thicker or a finer one of the same threads.

    Three of four veils are of grey noise, which is thicker, or finer, or both; the others are the
    next picture of the batch. What is drawn is decided by the seed.
    """
    pictures = tf.cast(pictures, tf.float32)
    count = tf.shape(pictures)[0]
    draws = iter(tf.unstack(tf.random.stateless_uniform([6, count, 1, 1, 1], seed)))

    def drawn(limits: tuple[float, float]) -> tf.Tensor:
        return limits[0] + (limits[1] - limits[0]) * next(draws)

    hidden, more = drawn(HIDDEN), drawn(MORE)
    rough, finer = drawn(ROUGH), drawn(FINER)
    kind, of_fog = next(draws), next(draws) < 0.75
    more = tf.where(of_fog & (kind < 0.4), 0.0, more)
    finer = tf.where(kind > 0.7, 0.0, finer)
    noise = tf.random.stateless_normal([count, 1, *_wide(pictures)], seed + 1)
    spectrum = tf.signal.rfft2d(noise)
    others = tf.roll(pictures, 1, axis=0)
    found = []
    for share, power in ((hidden, rough), (hidden + more, rough - finer)):
        veil = tf.where(of_fog, 255.0 * _fog(spectrum, power, pictures), others)
        found.append((1.0 - share) * pictures + share * veil)
    return found[0], found[1]


def _wide(pictures: tf.Tensor) -> list[int]:
    return [WIDER * side for side in pictures.shape[1:3]]


def _fog(spectrum: tf.Tensor, power: tf.Tensor, pictures: tf.Tensor) -> tf.Tensor:
    """A crop of grey textures 0 to 1, N×H×W×1, with amplitudes of the frequency to −power."""
    height, width = _wide(pictures)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    radius[0, 0] = np.inf
    fall = tf.exp(-power * np.log(radius).astype(np.float32))
    textures = tf.signal.irfft2d(spectrum * tf.cast(fall, tf.complex64))
    least = tf.reduce_min(textures, axis=(2, 3), keepdims=True)
    most = tf.reduce_max(textures, axis=(2, 3), keepdims=True)
    textures = (textures - least) / (most - least + 1e-9)
    return textures[:, 0, : height // WIDER, : width // WIDER, None]
