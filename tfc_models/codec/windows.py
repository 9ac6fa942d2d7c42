"""Windows of latents: large images are searched window by window."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfc_models.entropy.prediction import REDUCTION
from tfc_models.models import STRIDE

WINDOW = 48  # largest side in latents: 768 pixels
MARGIN = 8  # latents around a window that take part in its cost


def window_counts(shape: tf.Tensor) -> tf.Tensor:
    """Returns the numbers of windows down and across, for latents of a shape."""
    return -(-shape // WINDOW)


class Latents(NamedTuple):
    """Latents of a window under search.

    `values` are integers where `fixed` is 1 and real-valued targets elsewhere.
    """

    values: tf.Tensor
    fixed: tf.Tensor
    z: tf.Tensor


class Place(NamedTuple):
    """Rows and columns of a window in latents, with and without its margin."""

    top: tf.Tensor
    bottom: tf.Tensor
    left: tf.Tensor
    right: tf.Tensor
    inner: tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]

    @classmethod
    def of(cls, row: tf.Tensor, column: tf.Tensor, shape: tf.Tensor) -> Place:
        # Windows of about equal sizes, in multiples of a hyper-latent's area.
        """Returns the place of the window in a row and a column of windows."""
        sizes = -(-shape // (window_counts(shape) * REDUCTION)) * REDUCTION
        rows, columns = tf.unstack(sizes)
        top, left = row * rows, column * columns
        bottom = tf.minimum(top + rows, shape[0])
        right = tf.minimum(left + columns, shape[1])
        return cls(
            tf.maximum(top - MARGIN, 0),
            tf.minimum(bottom + MARGIN, shape[0]),
            tf.maximum(left - MARGIN, 0),
            tf.minimum(right + MARGIN, shape[1]),
            (top, bottom, left, right),
        )

    def latents(self, maps: tf.Tensor) -> tf.Tensor:
        """Returns the window and its margin, cut from latents."""
        return maps[:, self.top : self.bottom, self.left : self.right]

    def hyper(self, maps: tf.Tensor) -> tf.Tensor:
        """Returns the same area of hyper-latents."""
        bottom, right = -(-self.bottom // REDUCTION), -(-self.right // REDUCTION)
        return maps[:, self.top // REDUCTION : bottom, self.left // REDUCTION : right]

    def image(self, pixels: tf.Tensor) -> tf.Tensor:
        """Returns the same area of the image."""
        rows = pixels[:, self.top * STRIDE : self.bottom * STRIDE]
        return rows[:, :, self.left * STRIDE : self.right * STRIDE]

    def free(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns masks of the latents and hyper-latents without the margin."""
        top, bottom, left, right = self.inner
        rows, columns = tf.range(self.top, self.bottom), tf.range(self.left, self.right)
        hyper_rows = tf.range(self.top // REDUCTION, -(-self.bottom // REDUCTION))
        hyper_columns = tf.range(self.left // REDUCTION, -(-self.right // REDUCTION))
        hyper_bottom, hyper_right = -(-bottom // REDUCTION), -(-right // REDUCTION)
        return (
            _inside(rows, top, bottom, columns, left, right),
            _inside(
                *(hyper_rows, top // REDUCTION, hyper_bottom),
                *(hyper_columns, left // REDUCTION, hyper_right),
            ),
        )

    def put(self, result: Latents, whole: Latents, hyper: bool) -> Latents:
        """Writes the latents of a window, with its margin, back into the whole."""
        z = whole.z
        if hyper:
            z = _pasted(result.z, whole.z, self.top // REDUCTION, self.left // REDUCTION)
        return Latents(
            _pasted(result.values, whole.values, self.top, self.left),
            _pasted(result.fixed, whole.fixed, self.top, self.left),
            z,
        )


def _inside(
    rows: tf.Tensor,
    top: tf.Tensor,
    bottom: tf.Tensor,
    columns: tf.Tensor,
    left: tf.Tensor,
    right: tf.Tensor,
) -> tf.Tensor:
    in_rows = tf.cast((rows >= top) & (rows < bottom), tf.float32)
    in_columns = tf.cast((columns >= left) & (columns < right), tf.float32)
    return (in_rows[:, None] * in_columns[None])[None, :, :, None]


def _pasted(part: tf.Tensor, whole: tf.Tensor, top: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
    size, full = tf.shape(part)[1:3], tf.shape(whole)[1:3]
    after = full - size - tf.stack([top, left])
    around = [[0, 0], [top, after[0]], [left, after[1]], [0, 0]]
    inside = tf.pad(tf.ones([1, size[0], size[1], 1]), around)
    return tf.where(inside > 0.0, tf.pad(part, around), whole)
