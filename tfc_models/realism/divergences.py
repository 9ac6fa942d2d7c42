"""f-divergences between real and decoded images, with their variational lower bounds.

Nowozin, Cseke, Tomioka, "f-GAN: Training Generative Neural Samplers using Variational Divergence
Minimization" (NeurIPS 2016). For real images P, others Q, and convex f,

    D(P‖Q) = E_Q f(p/q) ≥ E_P T − E_Q f*(T),

with equality for T = f'(p/q). A critic returns any number v. An activation g maps it to the domain
of the conjugate f*: T = g(v). The critic maximizes the bound; the decoder minimizes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

Function = Callable[[tf.Tensor], tf.Tensor]


class Divergence(NamedTuple):
    """f-divergence.

    Attributes:
        f: function of the ratio u = p/q.
        activation: g(v).
        conjugate: f*(g(v)) as a function of v, simplified to avoid overflow.
        best: v at the optimum, where the activation is f'(u).
    """

    f: Function
    activation: Function
    conjugate: Function
    best: Function

    def bound(self, real: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        """Returns the mean bound of a critic's numbers for real and other images."""
        return tf.reduce_mean(self.activation(real)) - tf.reduce_mean(self.conjugate(other))

    def says_real(self, v: tf.Tensor) -> tf.Tensor:
        """Returns whether a critic's numbers classify their inputs as real.

        The activation decides, which grows with u as f' does. The number itself may fall.
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
    # Twice the Jensen-Shannon divergence, which is between 0 and ln 2.
    "jensen-shannon": Divergence(
        f=lambda u: tf.math.xlogy(u, u) - (u + 1.0) * tf.math.log(0.5 * (1.0 + u)),
        activation=lambda v: math.log(2.0) - tf.nn.softplus(-v),
        conjugate=lambda v: tf.nn.softplus(v) - math.log(2.0),
        best=tf.math.log,
    ),
    # The same minus ln 4: the negative cross entropies of a classifier.
    "gan": Divergence(
        f=lambda u: tf.math.xlogy(u, u) - (u + 1.0) * tf.math.log(u + 1.0),
        activation=lambda v: -tf.nn.softplus(-v),
        conjugate=tf.nn.softplus,
        best=tf.math.log,
    ),
}


def divergence_named(name: str) -> Divergence:
    """Returns one of DIVERGENCES. Raises ValueError with their names for other names."""
    if name not in DIVERGENCES:
        raise ValueError(f"a divergence is one of {', '.join(DIVERGENCES)}; got {name!r}.")
    return DIVERGENCES[name]
