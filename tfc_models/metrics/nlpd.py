"""Normalized Laplacian pyramid distance."""

from __future__ import annotations

import numpy as np

from tfc_models.metrics.lazy import tf
from tfc_models.metrics.pairs import as_float_batches, root
from tfc_models.metrics.record import Metric

LEVELS = 6
# Display: luminance of black and range up to white in cd/m², and gamma.
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
REACH = 4  # pixels mirrored beyond the border, which upsampling needs
NLPD_MIN_SIDE = REACH * 2 ** (LEVELS - 2) + 1


def nlpd(a: tf.Tensor, b: tf.Tensor, softness: float | tf.Tensor = 0.0) -> tf.Tensor:
    """NLPD of two NHWC batches, sRGB 0 to 255; 0 at equality. Mean over channels.

    Laparra, Berardino, Ballé, Simoncelli, "Perceptually optimized image rendering" (JOSA A 2017).
    Images are converted to luminances of a display from 5 to 180 cd/m² and raised to the exponent
    of the retina. Each band of their Laplacian pyramid is divided by the mean amplitude around it.
    The constants are those that the authors published.

    `softness` helps to minimize the distance from a distant start. It is added to the mean squares
    before the exponent across levels is applied. Without it, the gradient of a level that is nearly
    correct is steeper than that of all others.
    """
    a, b = as_float_batches(a, b, NLPD_MIN_SIDE, "NLPD")
    levels = [
        tf.reduce_mean(tf.square(x - y), axis=(1, 2)) for x, y in zip(_transform(a), _transform(b))
    ]
    exponent = 0.5 * ACROSS_LEVELS
    powers = [root(level + softness, exponent) - softness**exponent for level in levels]
    return tf.reduce_mean(root(tf.add_n(powers) / LEVELS, 1.0 / ACROSS_LEVELS), axis=-1)


def _transform(images: tf.Tensor) -> list[tf.Tensor]:
    """Returns the normalized bands, finest first, and the low-pass residual."""
    # Outputs of networks may be negative.
    light = RANGE * (tf.nn.relu(images) / 255.0) ** GAMMA + BLACK
    rest, bands = light**RETINA, []
    pool = tf.tile(tf.constant(POOL)[:, :, None, None], [1, 1, images.shape[-1], 1])
    for _ in range(LEVELS - 1):
        band, rest = _split(rest)
        around = tf.nn.depthwise_conv2d(tf.abs(band), pool, [1, 1, 1, 1], "SAME")
        bands.append(band / (BAND_CONSTANT + around))
    return [*bands, rest / (REST_CONSTANT + tf.abs(rest))]


def _split(maps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns one band and the map of half the sides that remains."""
    kernel = tf.constant(np.outer(FILTER, FILTER))[:, :, None, None]
    kernel = tf.tile(kernel, [1, 1, maps.shape[-1], 1])
    border = [[0, 0], [REACH, REACH], [REACH, REACH], [0, 0]]
    wide = tf.pad(maps, border, "REFLECT")
    strides = [1, 2, 2, 1]
    half = tf.nn.depthwise_conv2d(wide, kernel, strides, "VALID")
    # Times four, because three of four samples are zeros.
    again = tf.nn.depthwise_conv2d_backprop_input(
        tf.shape(wide), 4.0 * kernel, half, strides, "VALID"
    )
    return maps - again[:, REACH:-REACH, REACH:-REACH], half[:, 1:-1, 1:-1]


RECORDS = [
    Metric(
        name="nlpd",
        title="NLPD",
        axis_title="NLPD",
        min_side=NLPD_MIN_SIDE,
        higher_is_better=False,
        digits=4,
        in_decibels=False,
        position=50,
        function=nlpd,
        softened=nlpd,
        # Measured: see tfc_models.models.distortion.
        squared_error_per_unit=950.0,
    )
]
