"""How a critic measures that pictures are not real ones: divergences, bounded from below.

Nowozin, Cseke, Tomioka, "f-GAN: Training Generative Neural Samplers using Variational Divergence
Minimization" (NeurIPS 2016). For real pictures P and others Q, and convex f,

    D(P‖Q) = E_Q f(p/q) ≥ E_P T − E_Q f*(T),

with equality for T = f'(p/q). A critic gives any number v, and an activation g takes it to where
the conjugate f* is defined: T = g(v). The critic maximizes the bound; whoever makes the pictures
minimizes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

Function = Callable[[tf.Tensor], tf.Tensor]


class Divergence(NamedTuple):
    """One divergence.

    Attributes:
        f: of the ratio u = p/q.
        activation: g(v).
        conjugate: f*(g(v)), of the critic's number itself: simplified, so that nothing overflows
            that does not have to.
        best: the v whose activation is f'(u).
    """

    f: Function
    activation: Function
    conjugate: Function
    best: Function

    def bound(self, real: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        """The mean over a critic's numbers for real pictures and for others."""
        return tf.reduce_mean(self.activation(real)) - tf.reduce_mean(self.conjugate(other))

    def says_real(self, v: tf.Tensor) -> tf.Tensor:
        """Whether a critic's numbers hold what they are of for real rather than not.

        By the activation, which rises with u as f' does: the number itself may fall.
        """
        even = tf.ones([], v.dtype)
        return self.activation(v) > self.activation(self.best(even))


DIVERGENCES = {
    "kl": Divergence(
        f=lambda u: tf.math.xlogy(u, u),
        activation=lambda v: v,
        conjugate=lambda v: tf.exp(v - 1.0),
        best=lambda u: 1.0 + tf.math.log(u),
    ),
    "reverse-kl": Divergence(
        f=lambda u: -tf.math.log(u),
        activation=lambda v: -tf.exp(v),
        conjugate=lambda v: -1.0 - v,
        best=lambda u: -tf.math.log(u),
    ),
    "pearson": Divergence(
        f=lambda u: tf.square(u - 1.0),
        activation=lambda v: v,
        conjugate=lambda v: 0.25 * tf.square(v) + v,
        best=lambda u: 2.0 * (u - 1.0),
    ),
    # Twice the divergence that is between 0 and ln 2.
    "jensen-shannon": Divergence(
        f=lambda u: tf.math.xlogy(u, u) - (u + 1.0) * tf.math.log(0.5 * (1.0 + u)),
        activation=lambda v: math.log(2.0) - tf.nn.softplus(-v),
        conjugate=lambda v: tf.nn.softplus(v) - math.log(2.0),
        best=tf.math.log,
    ),
    # The same less ln 4: a classifier's cross entropies, with the sign changed.
    "gan": Divergence(
        f=lambda u: tf.math.xlogy(u, u) - (u + 1.0) * tf.math.log(u + 1.0),
        activation=lambda v: -tf.nn.softplus(-v),
        conjugate=tf.nn.softplus,
        best=tf.math.log,
    ),
}


def divergence_named(name: str) -> Divergence:
    """One of DIVERGENCES, or an error that lists them."""
    if name not in DIVERGENCES:
        raise ValueError(f"a divergence is one of {', '.join(DIVERGENCES)}; got {name!r}.")
    return DIVERGENCES[name]
