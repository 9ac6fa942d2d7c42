"""The normalized Laplacian pyramid distance."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfc_models.metrics.pairs import checked, root

LEVELS = 6
# A display: candelas per square metre at black and between black and white, and its gamma.
BLACK, RANGE, GAMMA = 5.0, 175.0, 2.4
RETINA = 1 / 2.6  # exponent
FILTER = np.array([0.05, 0.25, 0.4, 0.25, 0.05], np.float32)
POOL = np.array(
    [
        [0.04, 0.04, 0.05, 0.04, 0.04],
        [0.04, 0.03, 0.04, 0.03, 0.04],
        [0.05, 0.04, 0.05, 0.04, 0.05],
        [0.04, 0.03, 0.04, 0.03, 0.04],
        [0.04, 0.04, 0.05, 0.04, 0.04],
    ],
    np.float32,
)
BAND_CONSTANT, REST_CONSTANT = 0.17, 4.86
ACROSS_LEVELS = 0.6  # exponent
REACH = 4  # pixels mirrored beyond the border, so that what is made larger again knows them
NLPD_MIN_SIDE = REACH * 2 ** (LEVELS - 2) + 1


def nlpd(a: tf.Tensor, b: tf.Tensor, softness: float | tf.Tensor = 0.0) -> tf.Tensor:
    """NLPD of sRGB 0–255 NHWC batches, 0 at equality; the mean over the channels.

    Laparra, Berardino, Ballé, Simoncelli, "Perceptually optimized image rendering" (JOSA A
    2017). Pictures are shown on a display of 5 to 180 cd/m², and pass the retina's exponent;
    of a Laplacian pyramid every band is divided by the mean amplitude around it. The constants
    are those that the authors publish with it.

    Whoever minimizes it from afar is held up where one level is nearly right: the exponent across
    levels makes the slope of that one steeper than all others. `softness` is added to the mean
    squares before they are raised to it; where it is large, all levels lead on alike.
    """
    a, b = checked(a, b, NLPD_MIN_SIDE, "NLPD")
    levels = [
        tf.reduce_mean(tf.square(x - y), axis=(1, 2)) for x, y in zip(_transform(a), _transform(b))
    ]
    exponent = 0.5 * ACROSS_LEVELS
    powers = [root(level + softness, exponent) - softness**exponent for level in levels]
    return tf.reduce_mean(root(tf.add_n(powers) / LEVELS, 1.0 / ACROSS_LEVELS), axis=-1)


def _transform(pictures: tf.Tensor) -> list[tf.Tensor]:
    """The normalized bands, from the finest, and what is left."""
    # What a network gives may lie below black.
    light = RANGE * (tf.nn.relu(pictures) / 255.0) ** GAMMA + BLACK
    rest, bands = light**RETINA, []
    pool = tf.tile(tf.constant(POOL)[:, :, None, None], [1, 1, pictures.shape[-1], 1])
    for _ in range(LEVELS - 1):
        band, rest = _split(rest)
        around = tf.nn.depthwise_conv2d(tf.abs(band), pool, [1, 1, 1, 1], "SAME")
        bands.append(band / (BAND_CONSTANT + around))
    return [*bands, rest / (REST_CONSTANT + tf.abs(rest))]


def _split(maps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One level: what a map of half the sides does not tell, and that map."""
    kernel = tf.constant(np.outer(FILTER, FILTER))[:, :, None, None]
    kernel = tf.tile(kernel, [1, 1, maps.shape[-1], 1])
    border = [[0, 0], [REACH, REACH], [REACH, REACH], [0, 0]]
    wide = tf.pad(maps, border, "REFLECT")
    strides = [1, 2, 2, 1]
    half = tf.nn.depthwise_conv2d(wide, kernel, strides, "VALID")
    # Of every second sample: four times, to make up for the zeros between them.
    again = tf.nn.depthwise_conv2d_backprop_input(
        tf.shape(wide), 4.0 * kernel, half, strides, "VALID"
    )
    return maps - again[:, REACH:-REACH, REACH:-REACH], half[:, 1:-1, 1:-1]
