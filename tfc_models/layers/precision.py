"""Whether convolutions run in bfloat16: one switch, three settings.

bfloat16 pays only where the processor multiplies it natively (AMX, a GPU). AVX-512 without
AMX runs it slower than float32 and AVX2 refuses to run it at all, so `auto` does not look
at processor flags (which `ONEDNN_MAX_CPU_ISA` overrides): it runs a small convolution.
"""

from __future__ import annotations

import functools
import time

import tensorflow as tf

SETTINGS = ("on", "off", "auto")


def compute_dtype(bfloat16: str = "auto") -> tf.DType:
    """The dtype that transforms compute in, for a setting of the switch."""
    if bfloat16 not in SETTINGS:
        raise ValueError(f"bfloat16 is one of {', '.join(SETTINGS)}; got {bfloat16!r}.")
    if bfloat16 == "auto":
        return tf.bfloat16 if bfloat16_pays() else tf.float32
    return tf.bfloat16 if bfloat16 == "on" else tf.float32


@functools.cache
def bfloat16_pays() -> bool:
    """Tries a small convolution: it must run, agree with float32, and be faster."""
    with tf.init_scope():
        maps = tf.random.stateless_normal([1, 96, 96, 128], seed=[1, 2])
        kernel = tf.random.stateless_normal([3, 3, 128, 128], seed=[3, 4]) / 34.0

        def run(dtype: tf.DType) -> tuple[tf.Tensor, float]:
            x, w = tf.cast(maps, dtype), tf.cast(kernel, dtype)
            y = tf.nn.conv2d(x, w, 1, "SAME")
            seconds = []
            for _ in range(3):
                start = time.perf_counter()
                tf.nn.conv2d(x, w, 1, "SAME").numpy()
                seconds.append(time.perf_counter() - start)
            return tf.cast(y, tf.float32), min(seconds)

        try:
            half, half_seconds = run(tf.bfloat16)
        except tf.errors.OpError:
            return False
        full, full_seconds = run(tf.float32)
        agrees = bool(tf.reduce_max(tf.abs(half - full)) < 0.05)
        # .numpy() of bfloat16 costs about the same as of float32, so a margin is enough.
        return agrees and half_seconds < 0.8 * full_seconds
