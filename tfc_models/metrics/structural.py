"""SSIM and MS-SSIM."""

from __future__ import annotations

import math

from tfc_models.metrics.lazy import tf
from tfc_models.metrics.pairs import as_float_batches, check_batches, mean, root
from tfc_models.metrics.record import Metric

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, from the finest
WINDOW, DEVIATION = 11, 1.5  # pixels: side and standard deviation of the Gaussian window
LEAST = 0.05  # similarity
STABILIZERS = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
SSIM_MIN_SIDE = WINDOW
MS_SSIM_MIN_SIDE = WINDOW * 2 ** (len(WEIGHTS) - 1)  # the smallest map must hold one window


def ssim(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """SSIM of two NHWC batches, sRGB 0 to 255 (Wang et al. 2004); 1 at equality. Channel mean.

    Only windows inside the image count.
    """
    return 1.0 - ssim_distance(a, b)


def ssim_distance(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """1 − SSIM, summed from differences: exact near 0, and 0 at equality only."""
    luminance, structure = _deviations(*as_float_batches(a, b, SSIM_MIN_SIDE, "SSIM"))
    return tf.reduce_mean(_either(luminance, structure), axis=(1, 2, 3))


def ms_ssim(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """MS-SSIM of two NHWC batches, sRGB 0 to 255 (Wang et al. 2003); 1 at equality.

    Values equal those of `tf.image.ssim_multiscale`. That function chooses the padding at run time
    even for static sizes, which XLA does not support.
    """
    similarity = 1.0
    for scale, weight in zip(_scales(a, b), WEIGHTS):
        similarity *= root(tf.nn.relu(1.0 - scale), weight)
    return tf.reduce_mean(similarity, axis=-1)


def ms_ssim_distance(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """1 − MS-SSIM with a useful gradient where the similarity of a scale is near zero or negative.

    MS-SSIM is 0 and flat there. Below a similarity of `LEAST`, this function continues the
    logarithm by its tangent. It is exact near 0, and 0 at equality only.
    """
    logarithm = 0.0
    for scale, weight in zip(_scales(a, b), WEIGHTS):
        near = tf.minimum(scale, 1.0 - LEAST)
        tangent = math.log(LEAST) - (scale - (1.0 - LEAST)) / LEAST
        logarithm += weight * tf.where(scale < 1.0 - LEAST, tf.math.log1p(-near), tangent)
    return tf.reduce_mean(-tf.math.expm1(logarithm), axis=-1)


def _scales(a: tf.Tensor, b: tf.Tensor) -> list[tf.Tensor]:
    """Returns 1 − the similarity of each scale and channel, finest scale first."""
    a, b = check_batches(a, b, MS_SSIM_MIN_SIDE, "MS-SSIM")
    scales = []
    for i in range(len(WEIGHTS)):
        if i:
            a, b = _halved(a), _halved(b)
        last = i == len(WEIGHTS) - 1
        scales.append(mean(_whole if last else _structure, a, b, (1, 2), WINDOW))
    return scales


def _structure(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return _deviations(a, b)[1]


def _whole(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return _either(*_deviations(a, b))


def _either(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """1 − (1 − a)(1 − b)."""
    return a + b - a * b


def _deviations(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns 1 − the similarities of luminance and of contrast and structure, per window."""
    mean_a, mean_b = _windowed(a), _windowed(b)
    squares = tf.square(mean_a) + tf.square(mean_b)
    variances = tf.nn.relu(_windowed(tf.square(a) + tf.square(b)) - squares)
    apart, difference = tf.square(mean_a - mean_b), a - b
    # The variance of the difference is both variances less twice the covariance.
    noise = tf.nn.relu(_windowed(tf.square(difference)) - apart)
    return apart / (squares + STABILIZERS[0]), noise / (variances + STABILIZERS[1])


def _windowed(maps: tf.Tensor) -> tf.Tensor:
    """Returns means under the Gaussian window."""
    offsets = tf.range(WINDOW, dtype=tf.float32) - (WINDOW - 1) / 2
    weights = tf.nn.softmax(-0.5 * tf.square(offsets / DEVIATION))
    for shape in ([WINDOW, 1, 1, 1], [1, WINDOW, 1, 1]):
        kernel = tf.tile(tf.reshape(weights, shape), [1, 1, maps.shape[-1], 1])
        maps = tf.nn.depthwise_conv2d(maps, kernel, [1, 1, 1, 1], "VALID")
    return maps


def _halved(maps: tf.Tensor) -> tf.Tensor:
    maps = tf.cast(maps, tf.float32)
    odd = tf.shape(maps)[1:3] % 2
    maps = tf.pad(maps, [[0, 0], [0, odd[0]], [0, odd[1]], [0, 0]], "SYMMETRIC")
    return tf.nn.avg_pool2d(maps, 2, 2, "VALID")


def decibels(similarity: tf.Tensor) -> tf.Tensor:
    """Returns −10·log10(1 − similarity), the scale on which MS-SSIM is compared."""
    similarity = tf.convert_to_tensor(similarity, tf.float32)
    return -10.0 * tf.math.log(1.0 - similarity) / tf.math.log(10.0)


RECORDS = [
    Metric(
        name="ssim",
        title="SSIM",
        axis_title="SSIM (RGB), dB",
        min_side=SSIM_MIN_SIDE,
        higher_is_better=True,
        digits=4,
        in_decibels=True,
        position=30,
        function=ssim,
        distance_function=ssim_distance,
        # Measured: see tfc_models.models.distortion.
        squared_error_per_unit=470.0,
    ),
    Metric(
        name="ms-ssim",
        title="MS-SSIM",
        # From 0.95 to 0.99 is as far as from 0.75 to 0.95, which only a logarithm shows.
        axis_title="MS-SSIM (RGB), dB",
        min_side=MS_SSIM_MIN_SIDE,
        higher_is_better=True,
        digits=4,
        in_decibels=True,
        position=40,
        function=ms_ssim,
        distance_function=ms_ssim_distance,
        # Ratio of CompressAI's published λ for the two, 16.64 to 0.0130, the same at all qualities.
        squared_error_per_unit=1280.0,
    ),
]
