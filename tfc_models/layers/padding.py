"""Padding that repeats the border, for sizes that a transform does not divide."""

from __future__ import annotations

import tensorflow as tf


def pad_to_multiple(maps: tf.Tensor, multiple: int) -> tf.Tensor:
    """Extends NHWC maps at the bottom and right to the next multiple, repeating the edge.

    Repeating costs fewer bits than zeros and works from 1×1 up, which mirroring does not.
    """
    sides = tf.shape(maps)[1:3]

    def padded() -> tf.Tensor:
        out = maps
        for axis in (1, 2):
            size = sides[axis - 1]
            index = tf.range(-(-size // multiple) * multiple)
            out = tf.gather(out, tf.minimum(index, size - 1), axis=axis)
        return out

    return tf.cond(tf.reduce_all(sides % multiple == 0), lambda: maps, padded)
