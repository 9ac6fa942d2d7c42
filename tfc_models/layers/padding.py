"""Padding that repeats the border, for sizes that a transform does not divide."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def pad_to_multiple(maps: tf.Tensor, multiple: int) -> tf.Tensor:
    """Extends NHWC maps at the bottom and right to the next multiple, repeating the edge.

    Repeating costs fewer bits than zeros and works from 1×1 up, which mirroring does not.
    """
    if maps.shape[1:3].is_fully_defined():
        # Known while tracing: nothing is left to decide, and every shape stays known, which
        # a step that leaves TensorFlow needs.
        if all(side % multiple == 0 for side in maps.shape[1:3]):
            return maps
        return _padded(maps, maps.shape[1:3], multiple)
    sides = tf.shape(maps)[1:3]
    divides = tf.reduce_all(sides % multiple == 0)
    return tf.cond(divides, lambda: maps, lambda: _padded(maps, sides, multiple))


def _padded(maps: tf.Tensor, sides: Any, multiple: int) -> tf.Tensor:
    for axis in (1, 2):
        size = sides[axis - 1]
        index = tf.range(-(-size // multiple) * multiple)
        maps = tf.gather(maps, tf.minimum(index, size - 1), axis=axis)
    return maps
