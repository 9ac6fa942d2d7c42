"""Image pyramids with an inverse: Laplacian and steerable.

Both map NHWC batches of any size to bands, from the finest to an eighth of the size. `inverse`
reconstructs the images to the precision of float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

SCALES = 3
MARGIN = 16  # mirrored pixels beyond each border


class Pyramid(Protocol):
    """Interface of the pyramids."""

    sides: tuple[int, ...]

    def __call__(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Returns the bands; a band of number n in `sides` has 1/n of the image's sides."""

    def inverse(self, bands: list[tf.Tensor]) -> tf.Tensor:
        """Returns the images of bands, including mirrored borders."""


def mirrored(images: tf.Tensor, margin: int = MARGIN) -> tf.Tensor:
    """Returns images mirrored by `margin` pixels on each side, zero-padded to powers of two.

    TensorFlow's Fourier transforms of other sizes take up to 17 times as long.
    """
    border = [[0, 0], [margin, margin], [margin, margin], [0, 0]]
    wide = tf.pad(images, border, "SYMMETRIC")
    sides = tf.shape(wide)[1:3]
    powers = 2 ** tf.range(4, 31)
    first = tf.searchsorted(powers, sides)
    more = tf.gather(powers, first) - sides
    return tf.pad(wide, [[0, 0], [0, more[0]], [0, more[1]], [0, 0]])


def inside(bands: list[tf.Tensor], pyramid: Pyramid, images: tf.Tensor) -> list[tf.Tensor]:
    """Returns the bands of `mirrored(images)` without the area outside the images."""
    cropped = []
    for band, side in zip(bands, pyramid.sides):
        height, width = tf.unstack(-(-tf.shape(images)[1:3] // side))
        start = MARGIN // side
        cropped.append(band[:, start : start + height, start : start + width])
    return cropped


class LaplacianPyramid:
    """Differences between an image and its upsampled low-pass version (Burt, Adelson 1983)."""

    sides: tuple[int, ...] = (1, 2, 4, 8)
    _filter = np.array([1, 4, 6, 4, 1], np.float32) / 16

    def __call__(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Returns three bands and the low-pass residual; sides must be multiples of 8."""
        rest, bands = images, []
        for _ in range(SCALES):
            half = self._down(rest)
            bands.append(rest - self._up(half, tf.shape(rest)))
            rest = half
        return [*bands, rest]

    def inverse(self, bands: list[tf.Tensor]) -> tf.Tensor:
        """See `Pyramid`."""
        *bands, rest = bands
        for band in reversed(bands):
            rest = band + self._up(rest, tf.shape(band))
        return rest

    def _kernel(self, channels: int) -> tf.Tensor:
        kernel = np.outer(self._filter, self._filter)[:, :, None, None]
        return tf.constant(np.tile(kernel, [1, 1, channels, 1]))

    def _down(self, maps: tf.Tensor) -> tf.Tensor:
        return tf.nn.depthwise_conv2d(maps, self._kernel(maps.shape[-1]), [1, 2, 2, 1], "SAME")

    def _up(self, maps: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        kernel = 4.0 * self._kernel(maps.shape[-1])
        again = tf.nn.depthwise_conv2d_backprop_input(shape, kernel, maps, [1, 2, 2, 1], "SAME")
        return tf.ensure_shape(again, [None, None, None, maps.shape[-1]])


class SteerablePyramid:
    """Steerable pyramid with two orientations, by Fourier transforms (Simoncelli, Freeman 1995).

    Masks overlap by raised cosines over an octave. Their squares sum to 1, so that the same masks
    analyze and synthesize. Images are periodic at their borders: see `mirrored`.
    """

    sides: tuple[int, ...] = (
        1,
        *(side for scale in range(SCALES) for side in (2**scale,) * 2),
        2**SCALES,
    )

    def __call__(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Returns the finest band, six oriented ones and the residual; sides: multiples of 16."""
        spectrum = _forward(images)
        radius, _, _ = _polar(spectrum)
        low = _low(radius / np.pi)
        bands = [_backward(spectrum * _complex(_beside(low)))]
        spectrum *= _complex(low)
        for _ in range(SCALES):
            radius, y, x = _polar(spectrum)
            low = _low(2.0 * radius / np.pi)
            band = _beside(low)
            bands += [_backward(spectrum * _odd(band * part)) for part in (x, y)]
            spectrum = _smaller(spectrum * _complex(low))
        return [*bands, _backward(spectrum)]

    def inverse(self, bands: list[tf.Tensor]) -> tf.Tensor:
        """See `Pyramid`."""
        finest, *bands, rest = bands
        spectrum = _forward(rest)
        for scale in reversed(range(SCALES)):
            pair = [_forward(band) for band in bands[2 * scale : 2 * scale + 2]]
            radius, y, x = _polar(pair[0])
            low = _low(2.0 * radius / np.pi)
            spectrum = _larger(spectrum) * _complex(low)
            for part, half in zip((x, y), pair):
                spectrum -= half * _odd(_beside(low) * part)
        radius, _, _ = _polar(spectrum)
        low = _low(radius / np.pi)
        return _backward(spectrum * _complex(low) + _forward(finest) * _complex(_beside(low)))


def _forward(maps: tf.Tensor) -> tf.Tensor:
    """Returns spectra N, channels, rows, half of the columns of NHWC maps."""
    return tf.signal.rfft2d(tf.transpose(maps, [0, 3, 1, 2]))


def _backward(spectrum: tf.Tensor) -> tf.Tensor:
    sides = tf.shape(spectrum)[2:] * [1, 2] - [0, 2]
    return tf.transpose(tf.signal.irfft2d(spectrum, fft_length=sides), [0, 2, 3, 1])


def _polar(spectrum: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns radians per sample of every frequency, and its direction as two components."""
    rows, columns = tf.unstack(tf.cast(tf.shape(spectrum)[2:], tf.float32))
    y = tf.range(rows)
    y = (y - rows * tf.cast(y >= rows / 2.0, tf.float32))[:, None] / (rows / 2.0)
    x = tf.range(columns)[None, :] / (columns - 1.0)
    radius = tf.sqrt(tf.square(x) + tf.square(y))
    safe = tf.where(radius > 0.0, radius, 1.0)
    return np.pi * radius, y / safe, x / safe


def _low(octaves: tf.Tensor) -> tf.Tensor:
    """Returns a low-pass mask of relative frequencies: 1 up to a half, 0 from 1 on."""
    position = tf.math.log(tf.clip_by_value(octaves, 0.5, 1.0)) / np.log(2.0) + 1.0
    return tf.where(octaves < 1.0, tf.cos(0.5 * np.pi * position), 0.0)


def _beside(low: tf.Tensor) -> tf.Tensor:
    """Returns the complementary mask, so that the squares of both sum to 1."""
    return tf.sqrt(tf.maximum(1.0 - tf.square(low), 0.0))


def _complex(mask: tf.Tensor) -> tf.Tensor:
    return tf.complex(mask, 0.0 * mask)


def _odd(mask: tf.Tensor) -> tf.Tensor:
    """Returns the mask as that of an odd real filter."""
    return tf.complex(0.0 * mask, mask)


def _smaller(spectrum: tf.Tensor) -> tf.Tensor:
    """Returns the spectrum of images of half the sides; what is removed must be 0."""
    rows, columns = tf.unstack(tf.shape(spectrum)[2:])
    quarter, half = rows // 4, (columns - 1) // 2
    kept = spectrum[..., : half + 1]
    return 0.25 * tf.concat([kept[:, :, :quarter], kept[:, :, rows - quarter :]], axis=2)


def _larger(spectrum: tf.Tensor) -> tf.Tensor:
    """Returns the spectrum of images of twice the sides, without further frequencies."""
    rows, columns = tf.unstack(tf.shape(spectrum)[2:])
    half = rows // 2
    # The highest frequencies equal their own negatives and are not stored twice.
    gap = tf.zeros_like(spectrum)
    wide = tf.concat([spectrum[:, :, :half], gap, spectrum[:, :, half:]], axis=2)
    return 4.0 * tf.pad(wide, [[0, 0], [0, 0], [0, 0], [0, columns - 1]])


PYRAMIDS: dict[str, Callable[[], Pyramid]] = {
    "steerable": SteerablePyramid,
    "laplacian": LaplacianPyramid,
}


@functools.cache
def pyramid_of(name: str) -> Pyramid:
    """Returns the pyramid of a name."""
    if name not in PYRAMIDS:
        raise ValueError(f"there is no pyramid {name!r}; there are {', '.join(PYRAMIDS)}.")
    return PYRAMIDS[name]()
