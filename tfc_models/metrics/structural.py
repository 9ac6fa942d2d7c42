"""Structural similarity, at one scale and over several."""

from __future__ import annotations

import tensorflow as tf

from tfc_models.metrics.pairs import checked, root

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, from the finest
WINDOW, DEVIATION = 11, 1.5  # pixels: side and standard deviation of the Gaussian window
STABILIZERS = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
SSIM_MIN_SIDE = WINDOW
MS_SSIM_MIN_SIDE = WINDOW * 2 ** (len(WEIGHTS) - 1)  # the smallest map must hold one window


def ssim(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """SSIM of sRGB 0–255 NHWC batches, 1 at equality (Wang et al. 2004), mean over channels.

    Only windows that lie inside the picture count.
    """
    a, b = checked(a, b, SSIM_MIN_SIDE, "SSIM")
    luminance, structure = _similarities(a, b)
    return tf.reduce_mean(luminance * structure, axis=(1, 2, 3))


def ms_ssim(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """MS-SSIM of sRGB 0–255 NHWC batches, 1 at equality (Wang et al. 2003).

    The numbers are those of `tf.image.ssim_multiscale`, which decides about padding while it
    runs, even for sizes that are known: XLA then takes the pictures for constants.
    """
    a, b = checked(a, b, MS_SSIM_MIN_SIDE, "MS-SSIM")
    similarity = 1.0
    for i, weight in enumerate(WEIGHTS):
        if i:
            a, b = _halved(a), _halved(b)
        luminance, structure = _similarities(a, b)
        last = i == len(WEIGHTS) - 1
        mean = tf.reduce_mean(luminance * structure if last else structure, axis=(1, 2))
        similarity *= root(tf.nn.relu(mean), weight)
    return tf.reduce_mean(similarity, axis=-1)


def _similarities(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Of luminance, and of contrast and structure, in every window of every channel."""
    mean_a, mean_b = _windowed(a), _windowed(b)
    product, squares = mean_a * mean_b, tf.square(mean_a) + tf.square(mean_b)
    covariance = _windowed(a * b) - product
    variances = _windowed(tf.square(a) + tf.square(b)) - squares
    luminance = (2.0 * product + STABILIZERS[0]) / (squares + STABILIZERS[0])
    structure = (2.0 * covariance + STABILIZERS[1]) / (variances + STABILIZERS[1])
    return luminance, structure


def _windowed(maps: tf.Tensor) -> tf.Tensor:
    """Means under the Gaussian window, one axis after the other."""
    offsets = tf.range(WINDOW, dtype=tf.float32) - (WINDOW - 1) / 2
    weights = tf.nn.softmax(-0.5 * tf.square(offsets / DEVIATION))
    for shape in ([WINDOW, 1, 1, 1], [1, WINDOW, 1, 1]):
        kernel = tf.tile(tf.reshape(weights, shape), [1, 1, maps.shape[-1], 1])
        maps = tf.nn.depthwise_conv2d(maps, kernel, [1, 1, 1, 1], "VALID")
    return maps


def _halved(maps: tf.Tensor) -> tf.Tensor:
    odd = tf.shape(maps)[1:3] % 2
    maps = tf.pad(maps, [[0, 0], [0, odd[0]], [0, odd[1]], [0, 0]], "SYMMETRIC")
    return tf.nn.avg_pool2d(maps, 2, 2, "VALID")


def decibels(similarity: tf.Tensor) -> tf.Tensor:
    """−10·log10(1 − similarity), the scale on which MS-SSIM is compared."""
    similarity = tf.convert_to_tensor(similarity, tf.float32)
    return -10.0 * tf.math.log(1.0 - similarity) / tf.math.log(10.0)
