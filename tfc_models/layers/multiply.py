"""Where multiplication happens: natively in the dtype of the maps, or in float32 between them.

A decoder's pixels should differ by one grey level, rarely two, wherever they are decoded, also
where one machine multiplies in bfloat16 and the other cannot. A multiplication in bfloat16
computes exact products of bfloat16 numbers, sums them in float32, and rounds once at the end. A
float32 convolution of the same numbers computes the same but for the order of the sums, and any
processor runs it.
"""

from __future__ import annotations

import tensorflow as tf

from tfc_models.layers.compression_layer import CompressionLayer


class Multiplies(CompressionLayer):
    """A layer with a convolution in it, that can be told to run it in float32."""

    def convolve(
        self, maps: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None, stride: int
    ) -> tf.Tensor:
        """Convolution and bias, as one operation where TensorFlow fuses them."""
        dtype = maps.dtype
        # Rounded to the dtype of the maps in both cases.
        kernel, bias = tf.cast(kernel, dtype), None if bias is None else tf.cast(bias, dtype)
        if self.multiply_in_float32:
            maps, kernel = tf.cast(maps, tf.float32), tf.cast(kernel, tf.float32)
            bias = None if bias is None else tf.cast(bias, tf.float32)
        maps = tf.nn.conv2d(maps, kernel, stride, "SAME")
        maps = maps if bias is None else tf.nn.bias_add(maps, bias)
        return tf.cast(maps, dtype)
