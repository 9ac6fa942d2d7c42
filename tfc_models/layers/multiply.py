"""Convolutions that multiply in the dtype of the maps, or in float32.

Decoded pixels should differ by one grey level, rarely two, between a machine that multiplies in
bfloat16 and one that cannot. A multiplication in bfloat16 computes exact products of bfloat16
numbers, sums them in float32 and rounds once at the end. A float32 convolution of the same numbers
gives the same result except for the order of the sums, and runs on every processor.
"""

from __future__ import annotations

import tensorflow as tf

from tfc_models.layers.compression_layer import CompressionLayer


def convolved(
    maps: tf.Tensor, kernel: tf.Tensor, stride: int = 1, padding: tuple[int, int] | None = None
) -> tf.Tensor:
    """Convolves with zeros before and after rows and columns; `padding` None: as "SAME"."""
    ends = "SAME" if padding is None else [[0, 0], padding, padding, [0, 0]]
    return tf.nn.conv2d(maps, kernel, stride, ends)


class Multiplies(CompressionLayer):
    """Mix-in for layers with a convolution that can run in float32."""

    def convolve(
        self,
        maps: tf.Tensor,
        kernel: tf.Tensor,
        bias: tf.Tensor | None,
        stride: int,
        padding: tuple[int, int] | None = None,
    ) -> tf.Tensor:
        """Convolves and adds the bias, in one operation where TensorFlow fuses them.

        Args:
            maps: NHWC maps.
            kernel: size×size×inputs×outputs.
            bias: one value per output, or None.
            stride: of the convolution.
            padding: zeros before and after rows and columns; None: as "SAME".
        """
        dtype = maps.dtype
        # Rounded to the dtype of the maps in both cases.
        kernel, bias = tf.cast(kernel, dtype), None if bias is None else tf.cast(bias, dtype)
        if self.multiply_in_float32:
            maps, kernel = tf.cast(maps, tf.float32), tf.cast(kernel, tf.float32)
            bias = None if bias is None else tf.cast(bias, tf.float32)
        maps = convolved(maps, kernel, stride, padding)
        maps = maps if bias is None else tf.nn.bias_add(maps, bias)
        return tf.cast(maps, dtype)
