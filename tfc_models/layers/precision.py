"""Choice of bfloat16 or float32 for convolutions: off, on or auto.

bfloat16 is faster only on processors that multiply it natively (AVX512-BF16, AMX) and on GPUs.
Plain AVX-512 runs it slower than float32, and AVX2 does not run it. Gradients of convolutions are
faster only with AMX and on GPUs: with AVX512-BF16 alone, training steps take several times as long
as in float32. `auto` depends on the machine and its settings, not on timing: an image then always
gives the same file.
"""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Mapping

import tensorflow as tf

SETTINGS = ("on", "off", "auto")
CPUINFO = pathlib.Path("/proc/cpuinfo")


def compute_dtype(bfloat16: str = "auto") -> tf.DType:
    """Returns the dtype in which transforms compute, for off, on or auto."""
    if bfloat16 not in SETTINGS:
        raise ValueError(f"bfloat16 is one of {', '.join(SETTINGS)}; got {bfloat16!r}.")
    if bfloat16 == "auto":
        return tf.bfloat16 if bfloat16_pays() else tf.float32
    return tf.bfloat16 if bfloat16 == "on" else tf.float32


def setting_for_gradients(bfloat16: str) -> str:
    """Returns the setting for networks whose gradients are computed; resolves "auto"."""
    if bfloat16 != "auto":
        return bfloat16
    native = bfloat16_instructions(_cpuinfo(), os.environ)
    faster = "amx_bf16" in native or bool(tf.config.list_physical_devices("GPU"))
    return "on" if faster and bfloat16_pays() else "off"


def bfloat16_instructions(cpuinfo: str, environment: Mapping[str, str]) -> set[str]:
    """Returns the instructions by which oneDNN multiplies bfloat16, given flags and environment."""
    if environment.get("TF_ENABLE_ONEDNN_OPTS", "1") == "0":
        return set()
    isa = environment.get("ONEDNN_MAX_CPU_ISA", environment.get("DNNL_MAX_CPU_ISA", "")).upper()
    allowed = {"avx512_bf16", "amx_bf16"}
    if isa not in ("", "ALL", "DEFAULT") and "AMX" not in isa:
        allowed = {"avx512_bf16"} if "BF16" in isa or "FP16" in isa else set()
    flags = next((line.split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    return allowed & set(flags)


def _cpuinfo() -> str:
    return CPUINFO.read_text(encoding="utf-8") if CPUINFO.exists() else ""


@functools.cache
def bfloat16_pays() -> bool:
    """Returns whether bfloat16 is native here and agrees with float32 in a small convolution."""
    native = bfloat16_instructions(_cpuinfo(), os.environ)
    if not native and not tf.config.list_physical_devices("GPU"):
        return False
    with tf.init_scope():
        maps = tf.random.stateless_normal([1, 32, 32, 128], seed=[1, 2])
        kernel = tf.random.stateless_normal([3, 3, 128, 128], seed=[3, 4]) / 34.0
        full = tf.nn.conv2d(maps, kernel, 1, "SAME")
        try:
            half = tf.nn.conv2d(tf.cast(maps, tf.bfloat16), tf.cast(kernel, tf.bfloat16), 1, "SAME")
        except tf.errors.OpError:
            return False
        return bool(tf.reduce_max(tf.abs(tf.cast(half, tf.float32) - full)) < 0.05)
