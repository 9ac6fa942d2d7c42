"""Logarithm of the normal probability of an interval, accurate far into the tails.

With u and w the lower end and the width of an interval in standard deviations and φ the normal
density, the probability is p = φ(u) · (M(u) − exp(−x) · M(u + w)), where x = w · (u + w/2) and M
is Mills' ratio, (1 − Φ)/φ. Below `TAIL` p comes directly from erfc. Beyond, where p underflows in
float32, its logarithm comes from the asymptotic series of M. Gradients are written out in terms
of h = φ(u)/p, which neither underflows nor overflows.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import tensorflow as tf

TAIL = 9.0  # standard deviations; erfc in float32 holds up to 12.9
_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


def _mills(u: tf.Tensor) -> tf.Tensor:
    """Returns Mills' ratio for u ≥ TAIL, to a relative error of 2e-6."""
    r = 1.0 / tf.square(u)
    return (1.0 - r * (1.0 - r * (3.0 - 15.0 * r))) / u


# XLA compiles one pass over the latents; TensorFlow alone makes twenty.
_compiled = functools.partial(tf.function, jit_compile=True, autograph=False)


@_compiled
def _log_mass_and_ratio(u: tf.Tensor, w: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns log p and h = φ(u)/p."""
    inside = tf.minimum(u, TAIL)
    root = math.sqrt(0.5)
    mass = 0.5 * (tf.math.erfc(inside * root) - tf.math.erfc((inside + w) * root))
    inside_ratio = tf.exp(-0.5 * tf.square(inside) - _LOG_SQRT_2PI) / mass
    beyond = tf.maximum(u, TAIL)
    decay = tf.exp(-w * (beyond + 0.5 * w))
    beyond_mass = _mills(beyond) - decay * _mills(beyond + w)
    log_beyond = tf.math.log(beyond_mass) - 0.5 * tf.square(beyond) - _LOG_SQRT_2PI
    is_inside = u < TAIL
    return (
        tf.where(is_inside, tf.math.log(mass), log_beyond),
        tf.where(is_inside, inside_ratio, 1.0 / beyond_mass),
    )


@_compiled
def _gradients(
    upstream: tf.Tensor, ratio: tf.Tensor, u: tf.Tensor, w: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the gradients to u and w."""
    x = w * (u + 0.5 * w)
    scaled = upstream * ratio
    return scaled * tf.math.expm1(-x), scaled * tf.exp(-x)


@tf.custom_gradient
def log_normal_mass(u: tf.Tensor, w: tf.Tensor) -> Any:
    """Returns log(Φ(u + w) − Φ(u)), elementwise.

    Args:
        u: lower ends, in standard deviations, at least −w/2: by symmetry callers take the
            absolute value of the centre.
        w: widths, positive, of the same shape.
    """
    log_mass, ratio = _log_mass_and_ratio(u, w)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _gradients(upstream, ratio, u, w)

    return log_mass, gradient


def log_box_mass(centred: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Returns the log-probability of [y − μ − ½, y − μ + ½] under N(0, scale²)."""
    width = 1.0 / scale
    return log_normal_mass((tf.abs(centred) - 0.5) * width, width)
