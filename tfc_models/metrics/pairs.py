"""Checks and means shared by metrics of two batches."""

from __future__ import annotations

import math
from collections.abc import Callable

from tfc_models.metrics.lazy import tf

LARGEST_STRIP = 2**18  # pixels per strip


def as_float_batches(
    a: tf.Tensor, b: tf.Tensor, least: int, metric: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns both batches as float32. Raises ValueError for other shapes or too small sides."""
    a, b = tf.cast(a, tf.float32), tf.cast(b, tf.float32)
    return check_batches(a, b, least, metric)


def mean(
    maps: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    a: tf.Tensor,
    b: tf.Tensor,
    axes: tuple[int, ...],
    window: int = 1,
) -> tf.Tensor:
    """Returns the mean of maps of two batches over `axes`, which include the rows.

    Large images are processed in strips: their maps would take gigabytes.

    Args:
        maps: function of two float32 batches; its result has a row per window.
        a: first batch, as returned by `check_batches`.
        b: second batch.
        axes: axes of the mean.
        window: rows of a window, which lies inside the image.
    """

    def of_rows(top: int | None, end: int | None) -> tf.Tensor:
        return maps(*(tf.cast(batch[:, top:end], tf.float32) for batch in (a, b)))

    height, width = a.shape[1:3]
    if not height or not width or height * width <= LARGEST_STRIP:
        return tf.reduce_mean(of_rows(None, None), axes)
    rows, total, count = max(LARGEST_STRIP // width, window), [], 0
    for top in range(0, height - window + 1, rows):
        strip = of_rows(top, top + rows + window - 1)
        total.append(tf.reduce_sum(strip, axes))
        count += math.prod(strip.shape[axis] for axis in axes)
    return tf.add_n(total) / count


def check_batches(
    a: tf.Tensor, b: tf.Tensor, least: int, metric: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns both batches unchanged. Raises the errors of `as_float_batches`."""
    a, b = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
    for batch in (a, b):
        if batch.shape.rank not in (None, 4):
            raise ValueError(f"{metric} takes batches, NHWC; got the shape {batch.shape}.")
        if batch.shape.rank and batch.shape[3] not in (None, 3):
            raise ValueError(f"{metric} takes three channels, sRGB; got {batch.shape[3]}.")
    if not a.shape.is_compatible_with(b.shape):
        raise ValueError(f"{metric} takes two batches of one shape; got {a.shape} and {b.shape}.")
    if not (a.shape.is_fully_defined() and b.shape.is_fully_defined()):
        same = tf.reduce_all(tf.equal(tf.shape(a), tf.shape(b)))
        unlike = [f"{metric} takes two batches of one shape; got", tf.shape(a), tf.shape(b)]
        with tf.control_dependencies([tf.debugging.Assert(same, unlike)]):
            a, b = tf.identity(a), tf.identity(b)
    text = f"{metric} needs at least {least}×{least} pixels; got"
    known = a.shape[1:3] if a.shape.rank else tf.TensorShape([None])
    if known.is_fully_defined():
        if min(known) < least:
            raise ValueError(f"{text} {known[0]}×{known[1]}.")
        return a, b
    sides = tf.shape(a)[1:3]
    check = tf.debugging.Assert(tf.reduce_all(sides >= least), [text, sides])
    with tf.control_dependencies([check]):
        return tf.identity(a), tf.identity(b)


def root(values: tf.Tensor, exponent: float) -> tf.Tensor:
    """Returns values^exponent of nonnegative values; the gradient at 0 is 0, not infinity."""
    positive = values > 0.0
    return tf.where(positive, tf.where(positive, values, 1.0) ** exponent, 0.0)
