"""Transforms applied tile by tile, so that memory does not grow with the image size."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

TILE = 64  # latents per side: 1024 pixels
# In the analysis, four 5×5 stages by 2 reach 15 pixels to one side and 30 to the other; in the
# synthesis, 1 + 1/2 + 1/4 + 1/8 latents. The 9×9 by 4 stem of bls2017 reaches less.
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
    """Returns `transform(maps)` of one example, computed in tiles that overlap as filters reach.

    Tiles end where the image ends and see the same zeros beyond the border as the whole image. The
    result is therefore the same.

    Args:
        transform: function of NHWC maps; `unit_in` input samples become `unit_out` output samples.
        maps: NHWC, sides multiples of `unit_in`.
        unit_in: input samples per latent.
        unit_out: output samples per latent.
        out: shape (height, width, channels) and dtype of the result.
        tile: side of a tile in latents. Batches of several examples are not tiled.
        halo: latents that a tile reads beyond its sides, at least the filters' reach.
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
