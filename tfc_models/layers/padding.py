"""Padding to the sizes that a transform divides, by repeating the border."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def pad_to_multiple(maps: tf.Tensor, multiple: int) -> tf.Tensor:
    """Pads NHWC maps at the bottom and right to the next multiple, repeating the edge.

    Repeated pixels cost fewer bits than zeros. Unlike mirroring, repeating works from 1×1 pixels
    on.
    """
    if maps.shape[1:3].is_fully_defined():
        # Static sizes: all shapes stay static, which exported training steps need.
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
