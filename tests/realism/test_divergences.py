"""Divergences and their bounds for distributions of a few values."""

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
    """Returns a divergence by its definition."""
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
    divergence = DIVERGENCES[name]
    return tf.reduce_sum(REAL * divergence.activation(v)) - tf.reduce_sum(
        OTHER * divergence.conjugate(v)
    )


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_best_critic_reaches_the_divergence(name):
    """A numerical search, without the formulas, reaches the optimum."""

    def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
        v = tf.constant(v, tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(v)
            value = -bound(name, v)
        return float(value), tape.gradient(value, v).numpy()

    result = optimize.minimize(loss, np.zeros(5), jac=True, tol=1e-12)
    assert -result.fun == pytest.approx(known(name, REAL, OTHER), abs=1e-5)
    ratio = tf.constant(REAL / OTHER, tf.float64)
    best = DIVERGENCES[name].best(ratio)
    np.testing.assert_allclose(result.x, best, atol=2e-3)
    # The search does not exceed it, and the generator function agrees.
    assert float(bound(name, best)) >= -result.fun - 1e-9
    expected = tf.reduce_sum(OTHER * DIVERGENCES[name].f(ratio))
    assert float(expected) == pytest.approx(known(name, REAL, OTHER), abs=1e-9)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_best_critic_classifies_correctly_for_every_divergence(name):
    """The critic's number falls with the ratio for reverse KL and rises for the others."""
    best = DIVERGENCES[name].best(tf.constant(REAL / OTHER))
    np.testing.assert_array_equal(DIVERGENCES[name].says_real(best), REAL > OTHER)
    # Values repeated by their frequency. The second row, with weight 0, has them exchanged.
    real, other = (np.repeat(best, np.rint(20 * p).astype(int)) for p in (REAL, OTHER))
    numbers = (np.array([a, b], np.float32) for a, b in ((real, other), (other, real)))
    counts = tf.constant([[1.0], [0.0]])
    result = accuracy(DIVERGENCES[name], *map(tf.constant, numbers), counts)
    assert float(result) == pytest.approx(0.5 * (0.9 + 0.5))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_conjugates_match_a_numerical_search(name):
    """f*(t) is the maximum of u·t − f(u) over u; g maps to where it is finite."""
    divergence = DIVERGENCES[name]
    u = tf.constant(np.geomspace(1e-7, 1e4, 400_001))
    for v in (-2.0, -0.3, 0.0, 0.7, 2.5):
        t = float(divergence.activation(tf.constant(v, tf.float64)))
        largest = float(tf.reduce_max(u * t - divergence.f(u)))
        if name == "pearson" and t < -2.0:
            continue  # These would be ratios below 0.
        conjugate = float(divergence.conjugate(tf.constant(v, tf.float64)))
        assert conjugate == pytest.approx(largest, abs=1e-4)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_bounds_of_samples_are_finite_and_constant_for_equal_sets(name):
    divergence = DIVERGENCES[name]
    same = tf.fill([4, 3], float(divergence.best(tf.constant(1.0))))
    at_equality = -math.log(4.0) if name == "gan" else 0.0
    assert float(divergence.bound(same, same)) == pytest.approx(at_equality, abs=1e-6)
    if name not in ("kl", "reverse-kl"):  # Their bounds grow with the ratio.
        for v in (-300.0, 300.0):
            value = tf.constant([v])
            with tf.GradientTape() as tape:
                tape.watch(value)
                cost = divergence.bound(value, value)
            assert np.isfinite(float(cost))
            assert np.all(np.isfinite(tape.gradient(cost, value)))


def test_an_unknown_divergence_lists_the_known_ones():
    with pytest.raises(ValueError, match="one of kl, reverse-kl, pearson"):
        divergence_named("wasserstein")
