"""Divergences and their bounds, on distributions of a few values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, special

from tfc_models.realism import (
    DIVERGENCES,
    divergence_named,
)
from tfc_models.training.adversarial import accuracy

REAL = np.array([0.05, 0.3, 0.4, 0.2, 0.05])
OTHER = np.array([0.2, 0.25, 0.1, 0.15, 0.3])


def known(name: str, p: np.ndarray, q: np.ndarray) -> float:
    """From the divergences' own definitions."""
    middle = 0.5 * (p + q)
    shannon = np.sum(special.rel_entr(p, middle) + special.rel_entr(q, middle))
    return {
        "kl": np.sum(special.rel_entr(p, q)),
        "reverse-kl": np.sum(special.rel_entr(q, p)),
        "pearson": np.sum((p - q) ** 2 / q),
        "jensen-shannon": shannon,
        "gan": shannon - math.log(4.0),
    }[name]


def bound(name: str, v: tf.Tensor) -> tf.Tensor:
    found = DIVERGENCES[name]
    return tf.reduce_sum(REAL * found.activation(v)) - tf.reduce_sum(OTHER * found.conjugate(v))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_best_critic_reaches_the_divergence(name):
    """By search, from 0, which knows nothing of the formulas."""

    def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
        v = tf.constant(v, tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(v)
            value = -bound(name, v)
        return float(value), tape.gradient(value, v).numpy()

    found = optimize.minimize(loss, np.zeros(5), jac=True, tol=1e-12)
    assert -found.fun == pytest.approx(known(name, REAL, OTHER), abs=1e-5)
    ratio = tf.constant(REAL / OTHER, tf.float64)
    best = DIVERGENCES[name].best(ratio)
    np.testing.assert_allclose(found.x, best, atol=2e-3)
    # Nobody gets above it, and the generator says the same.
    assert float(bound(name, best)) >= -found.fun - 1e-9
    expected = tf.reduce_sum(OTHER * DIVERGENCES[name].f(ratio))
    assert float(expected) == pytest.approx(known(name, REAL, OTHER), abs=1e-9)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_best_critic_is_right_whatever_the_divergence(name):
    """Its number falls with the ratio for reverse KL, and rises for the others."""
    best = DIVERGENCES[name].best(tf.constant(REAL / OTHER))
    np.testing.assert_array_equal(DIVERGENCES[name].says_real(best), REAL > OTHER)
    # As often as they come; the second row, the other way round, does not count.
    real, other = (np.repeat(best, np.rint(20 * p).astype(int)) for p in (REAL, OTHER))
    numbers = (np.array([a, b], np.float32) for a, b in ((real, other), (other, real)))
    counts = tf.constant([[1.0], [0.0]])
    found = accuracy(DIVERGENCES[name], *map(tf.constant, numbers), counts)
    assert float(found) == pytest.approx(0.5 * (0.9 + 0.5))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_conjugates_are_conjugates(name):
    """f*(t) is the largest of u·t − f(u), by search over u; g stays where it is finite."""
    found = DIVERGENCES[name]
    u = tf.constant(np.geomspace(1e-7, 1e4, 400_001))
    for v in (-2.0, -0.3, 0.0, 0.7, 2.5):
        t = float(found.activation(tf.constant(v, tf.float64)))
        largest = float(tf.reduce_max(u * t - found.f(u)))
        if name == "pearson" and t < -2.0:
            continue  # Of ratios below 0, which there are not.
        conjugate = float(found.conjugate(tf.constant(v, tf.float64)))
        assert conjugate == pytest.approx(largest, abs=1e-4)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_bounds_of_samples_are_finite_and_0_or_constant_where_nothing_differs(name):
    found = DIVERGENCES[name]
    same = tf.fill([4, 3], float(found.best(tf.constant(1.0))))
    at_equality = -math.log(4.0) if name == "gan" else 0.0
    assert float(found.bound(same, same)) == pytest.approx(at_equality, abs=1e-6)
    if name not in ("kl", "reverse-kl"):  # Those grow with the ratio itself.
        for v in (-300.0, 300.0):
            value = tf.constant([v])
            with tf.GradientTape() as tape:
                tape.watch(value)
                cost = found.bound(value, value)
            assert np.isfinite(float(cost))
            assert np.all(np.isfinite(tape.gradient(cost, value)))


def test_a_divergence_that_there_is_not():
    with pytest.raises(ValueError, match="one of kl, reverse-kl, pearson"):
        divergence_named("wasserstein")
