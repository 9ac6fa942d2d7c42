"""Transforms applied tile by tile, so that memory does not grow with the picture."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

TILE = 64  # latents a side: 1024 pixels
# Four 5×5 stages by 2 reach 15 pixels to one side and 30 to the other on the way in, and
# 1 + 1/2 + 1/4 + 1/8 latents on the way out; the 9×9 by 4 stem of bls2017 reaches less.
HALO = 2


def tiled(
    transform: Callable[[tf.Tensor], tf.Tensor],
    maps: tf.Tensor,
    unit_in: int,
    unit_out: int,
    out: tf.TensorSpec,
    tile: int = TILE,
    halo: int = HALO,
) -> tf.Tensor:
    """`transform(maps)` for one example, from tiles that overlap as far as filters reach.

    Where the picture ends a tile ends too, so that a tile sees the same zeros beyond the
    border as the whole would: the result is the same.

    Args:
        transform: maps NHWC to NHWC, every `unit_in` samples to `unit_out`.
        maps: NHWC, sides multiples of `unit_in`.
        unit_in: samples of the input to a latent.
        unit_out: samples of the output to a latent.
        out: shape (height, width, channels) and dtype of what comes out.
        tile: latents a side of a tile. Batches of several examples are not cut.
        halo: latents that a tile reads beyond itself, at least as far as filters reach.
    """
    height, width = tf.shape(maps)[1] // unit_in, tf.shape(maps)[2] // unit_in

    def extent(i: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, ...]:
        first = i * tile
        end = tf.minimum(first + tile, size)
        low, high = tf.maximum(first - halo, 0), tf.minimum(end + halo, size)
        return low, high, first - low, end - first

    def one(i: tf.Tensor, j: tf.Tensor) -> tf.Tensor:
        top, bottom, skip_y, rows = extent(i, height)
        left, right, skip_x, columns = extent(j, width)
        piece = maps[:, top * unit_in : bottom * unit_in, left * unit_in : right * unit_in]
        pixels = transform(piece)[0, skip_y * unit_out :, skip_x * unit_out :]
        return pixels[: rows * unit_out, : columns * unit_out]

    def along(count: tf.Tensor, piece: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Joins pieces along their first axis; each may have another length there."""
        pieces = tf.TensorArray(out.dtype, count, infer_shape=False, element_shape=out.shape)
        _, pieces = tf.while_loop(
            lambda i, _: i < count,
            lambda i, pieces: (i + 1, pieces.write(i, piece(i))),
            (0, pieces),
            parallel_iterations=1,
        )
        return pieces.concat()

    def row(i: tf.Tensor) -> tf.Tensor:
        joined = along(-(-width // tile), lambda j: tf.transpose(one(i, j), [1, 0, 2]))
        return tf.transpose(joined, [1, 0, 2])

    return tf.cond(
        (tf.shape(maps)[0] != 1) | ((height <= tile) & (width <= tile)),
        lambda: transform(maps),
        lambda: along(-(-height // tile), row)[None],
    )
