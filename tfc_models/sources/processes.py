"""Small sources: distributions of TensorFlow Probability, and random functions on an interval.

Sampling is stateless: the same seed gives the same samples.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

tfb, tfd = tfp.bijectors, tfp.distributions

BANANA_DEVIATIONS = (3.0, 0.5)
BANANA_BEND = 0.1
BANANA_ANGLE = math.radians(240.0)
BANANA_SHIFT = (-1.0, -1.0)


def banana() -> tfp.distributions.Distribution:
    """Returns a normal distribution in the plane, bent along a parabola, rotated and shifted.

    The map has a Jacobian of 1, so that the entropy is that of the normal distribution.
    """
    # v = (u₁, u₂ − 0.1 u₁²).
    bend = tfb.RealNVP(
        num_masked=1,
        shift_and_log_scale_fn=lambda u, size, **_: (-BANANA_BEND * tf.square(u), None),
        is_constant_jacobian=True,
    )
    sine, cosine = math.sin(BANANA_ANGLE), math.cos(BANANA_ANGLE)
    turn = tfb.ScaleMatvecLinearOperator(
        tf.linalg.LinearOperatorFullMatrix([[cosine, sine], [-sine, cosine]], is_non_singular=True)
    )
    normal = tfd.MultivariateNormalDiag([0.0, 0.0], list(BANANA_DEVIATIONS))
    bijector = tfb.Chain([tfb.Shift(list(BANANA_SHIFT)), turn, bend])
    return tfd.TransformedDistribution(normal, bijector, name="banana")


def laplace(dimensions: int = 1) -> tfp.distributions.Distribution:
    """Returns independent Laplacian numbers of location 0 and scale 1."""
    return tfd.Sample(tfd.Laplace(0.0, 1.0), dimensions, name="laplace")


class _Vectors(tfp.distributions.Distribution):
    """Distribution of vectors that supports sampling only."""

    def __init__(self, size: int, name: str, parameters: dict[str, Any]) -> None:
        self._size = size
        super().__init__(
            dtype=tf.float32,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([self._size])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([self._size])

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _batch_shape_tensor(self, **_: Any) -> tf.Tensor:
        return tf.constant([], tf.int32)


class RandomFunction(_Vectors):
    """Random function of t in [0, 1], sampled at equidistant points that include both ends.

    Args:
        points: numbers per sample.
        order: number of independent functions in the sum, which is divided by its root.
    """

    def __init__(self, points: int, order: int = 1, name: str | None = None, **own: Any) -> None:
        if points < 2 or order < 1:
            raise ValueError(f"points are 2 or more, order 1 or more; got {points} and {order}.")
        self.points, self.order = points, order
        parameters = {"points": points, "order": order, **own}
        super().__init__(points, name or type(self).__name__, parameters)

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        t = tf.linspace(0.0, 1.0, self.points)
        seeds = tfp.random.split_seed(seed, n=self.order, salt=type(self).__name__)
        return tf.add_n([self._drawn(n, t, s) for s in tf.unstack(seeds)]) / self.order**0.5

    def _drawn(self, n: tf.Tensor, t: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns n functions at the points t."""
        raise NotImplementedError


class Sawbridge(RandomFunction):
    """Sawbridge t − 1(t > Z), Z uniform: a ramp with one drop (Wagner, Ballé, DCC 2021).

    With `stationary`, t is (t + V) mod 1, with V uniform and independent of Z.
    """

    def __init__(
        self, points: int = 1024, stationary: bool = False, order: int = 1, name: str | None = None
    ) -> None:
        self.stationary = stationary
        super().__init__(points, order, name, stationary=stationary)

    def _drawn(self, n: tf.Tensor, t: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        of_drop, of_start = tf.unstack(tfp.random.split_seed(seed, n=2))
        drop = tf.random.stateless_uniform([n, 1], of_drop)
        if self.stationary:
            t = (t + tf.random.stateless_uniform([n, 1], of_start)) % 1.0
        return t - tf.cast(t > drop, tf.float32)


class Ramp(RandomFunction):
    """(t + V) mod 1 − ½, V uniform."""

    def __init__(self, points: int = 1024, order: int = 1, name: str | None = None) -> None:
        super().__init__(points, order, name)

    def _drawn(self, n: tf.Tensor, t: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return (t + tf.random.stateless_uniform([n, 1], seed)) % 1.0 - 0.5


class Sinusoid(RandomFunction):
    """sin 2π(t + V), V uniform."""

    def __init__(self, points: int = 1024, order: int = 1, name: str | None = None) -> None:
        super().__init__(points, order, name)

    def _drawn(self, n: tf.Tensor, t: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.sin(2.0 * math.pi * (t + tf.random.stateless_uniform([n, 1], seed)))


class Sphere(_Vectors):
    """Points of uniform direction and radius between 1 − width and 1 + width.

    Args:
        dimensions: 2 for a circle.
        width: half of the thickness of the shell; the radius is uniform. 0 is the sphere itself.
    """

    def __init__(self, dimensions: int = 2, width: float = 0.0, name: str = "Sphere") -> None:
        if dimensions < 1 or not 0.0 <= width <= 1.0:
            raise ValueError(
                f"dimensions are 1 or more and the width 0 to 1; got {dimensions} and {width}."
            )
        self.dimensions, self.width = dimensions, width
        super().__init__(dimensions, name, {"dimensions": dimensions, "width": width})

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        of_direction, of_distance = tf.unstack(tfp.random.split_seed(seed, n=2, salt="Sphere"))
        direction = tf.random.stateless_normal([n, self.dimensions], of_direction)
        distance = 1.0 + self.width * tf.random.stateless_uniform([n, 1], of_distance, -1.0, 1.0)
        return distance * tf.math.l2_normalize(direction, axis=-1)
