"""Distortion-perception trade-off: closed forms compared with samples and searches."""

from __future__ import annotations

import doctest
import math
import sys

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, special, stats

from tfc_models.analysis import knee, tradeoff
from tfc_models.analysis.tradeoff import GENERATORS, Binary, Channel, Sign
from tfc_models.realism import (
    DIVERGENCES,
)

GAMMAS = (0.1, 1.0, 10.0)


def test_generator_functions_match_their_divergences():
    assert list(GENERATORS) == list(DIVERGENCES)
    u = np.geomspace(1e-3, 1e3, 50)
    for name, generator in GENERATORS.items():
        divergence = DIVERGENCES[name]
        np.testing.assert_allclose(
            generator.f(u), divergence.f(tf.constant(u)), rtol=1e-9, atol=1e-12
        )
        # u f'(u) − f(u) is the conjugate at f'(u).
        conjugate = divergence.conjugate(divergence.best(tf.constant(u))).numpy()
        start = divergence.conjugate(divergence.best(tf.constant(1e-12, tf.float64))).numpy()
        level = conjugate - start if generator.bounded else conjugate + 1.0
        np.testing.assert_allclose(generator.ratio(level), u, rtol=1e-6)


def test_wasserstein_of_samples_is_exact():
    """The reference is an integral over both quantile functions."""
    samples = np.array([0.3, -2.0, 0.7, 0.31, 1.5])

    def squares(u: np.ndarray) -> np.ndarray:
        return (np.sort(samples)[(5 * u).astype(int)] - special.ndtri(u)) ** 2

    u = (np.arange(2_000_000) + 0.5) / 2_000_000
    expected = math.sqrt(squares(u).mean())
    assert tradeoff.wasserstein_to_normal(samples) == pytest.approx(expected, abs=1e-4)
    normal = np.random.default_rng(0).normal(size=100_000)
    assert tradeoff.wasserstein_to_normal(normal) < 0.01
    assert tradeoff.wasserstein_to_normal(0.6 * normal) == pytest.approx(0.4, abs=0.01)
    with pytest.raises(ValueError, match="all of them finite"):
        tradeoff.wasserstein_to_normal([1.0, math.nan])


def drawn(known: Channel | Sign) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns samples of X, of E[X|Y], and of the optimal transport of E[X|Y] to the law of X."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=400_000)
    if isinstance(known, Channel):
        variance = 1.0 / (2.0 ** (2.0 * known.rate) - 1.0)
        y = x + rng.normal(size=x.shape) * math.sqrt(variance)
        return x, y / (1.0 + variance), y / math.sqrt(1.0 + variance)
    mean = np.where(x > 0.0, x[x > 0.0].mean(), x[x < 0.0].mean())
    return x, mean, np.sign(x) * np.abs(rng.normal(size=x.shape))


@pytest.mark.parametrize(
    "known", [Channel(0.5), Channel(2.0), Sign()], ids=["half a bit", "two bits", "sign"]
)
def test_interpolations_between_the_optimum_and_its_transport_lie_on_the_curve(known):
    x, best, real = drawn(known)
    assert np.mean((x - best) ** 2) == pytest.approx(known.least, rel=0.01)
    assert tradeoff.wasserstein_to_normal(best) == pytest.approx(known.gap, abs=0.005)
    for share in (0.0, 0.3, 0.7, 1.0):
        reconstruction = (1.0 - share) * best + share * real
        distance = tradeoff.wasserstein_to_normal(reconstruction)
        assert distance == pytest.approx((1.0 - share) * known.gap, abs=0.01)
        expected = known.bound((1.0 - share) * known.gap)
        assert np.mean((x - reconstruction) ** 2) == pytest.approx(expected, rel=0.01)
    assert known.bound(known.gap + 1.0) == known.least
    assert known.bound(0.0) <= 2.0 * known.least + 1e-12


def test_perfect_realism_of_a_sign_doubles_the_least_distortion():
    assert Sign().bound(0.0) == pytest.approx(2.0 * Sign().least)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_linear_solution_for_the_reverse_kl_is_optimal_among_monotone_maps(gamma):
    """The search covers all increasing maps of X* to X̂, including linear ones."""
    known = Channel(0.5)
    z = special.ndtri((np.arange(200) + 0.5) / 200)

    def cost(logarithms: np.ndarray) -> float:
        steps = np.exp(logarithms)
        reconstruction = np.concatenate([[0.0], np.cumsum(steps * np.diff(z))])
        reconstruction -= reconstruction.mean()
        error = np.mean((reconstruction - known.spread * z) ** 2)
        # E log q/p, where q is z's density over the map's slope.
        return gamma * error + 0.5 * np.mean(reconstruction**2) - np.mean(logarithms)

    result = optimize.minimize(
        cost, np.full(199, -0.1), method="L-BFGS-B", options={"maxfun": 10**6}
    )
    best = known.best(gamma, "reverse-kl")
    slopes = np.exp(result.x)
    # 200 quantiles do not cover the tails.
    assert np.median(slopes) == pytest.approx(1.0 - best.perception, abs=0.01)
    assert np.ptp(slopes[20:-20]) < 0.02


def divergence_of_normals(name: str, t: float) -> float:
    """Returns a divergence by SciPy's integration of its definition."""
    p, q = stats.norm(), stats.norm(scale=t)

    def at(x: float) -> float:
        a, b = p.pdf(x), q.pdf(x)
        middle = 0.5 * (a + b)
        shannon = special.rel_entr(a, middle) + special.rel_entr(b, middle)
        return {
            "kl": special.rel_entr(a, b),
            "reverse-kl": special.rel_entr(b, a),
            "pearson": (a - b) ** 2 / b,
            "jensen-shannon": shannon,
            "gan": shannon,
        }[name]

    from scipy.integrate import quad

    return 2.0 * quad(at, 0.0, 8.0, limit=200)[0]


@pytest.mark.parametrize("name", GENERATORS)
def test_the_best_multiple(name):
    known, gamma = Channel(0.5), 1.0
    spreads = np.linspace(known.spread, 1.0, 41)
    costs = [gamma * (t - known.spread) ** 2 + divergence_of_normals(name, t) for t in spreads]
    coarse = spreads[int(np.argmin(costs))]
    result = known.best(gamma, name)
    assert 1.0 - result.perception == pytest.approx(coarse, abs=0.0075)
    assert result.distortion == pytest.approx(known.bound(result.perception), abs=1e-12)


@pytest.mark.parametrize("name", GENERATORS)
def test_the_best_law_of_a_sign(name):
    """A search over the masses of cells reaches the closed form and does not exceed it."""
    known, gamma = Sign(), 1.5
    cells = 30
    x, q = known.law(gamma, name)
    size = len(x) // cells
    p = np.exp(-0.5 * x**2)
    p = (p / p.sum())[: cells * size].reshape(cells, size).sum(1)
    q = q[: cells * size].reshape(cells, size).sum(1)
    x = x[: cells * size].reshape(cells, size).mean(1)
    cost = gamma * (x - known.level) ** 2
    f = DIVERGENCES[name].f

    @tf.function
    def slope(v: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(v)
            masses = tf.nn.softmax(v)
            value = tf.reduce_sum(masses * cost + masses * f(p / masses))
        return value, tape.gradient(value, v)

    def objective(logits: np.ndarray) -> tuple[float, np.ndarray]:
        return tuple(x.numpy() for x in slope(tf.constant(logits, tf.float64)))

    options = {"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-9}
    start = -0.5 * x**2
    result = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    assert objective(np.log(q))[0] == pytest.approx(result.fun, abs=2e-3)
    assert np.abs(special.softmax(result.x) - q).sum() < 0.05


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize(
    "known", [Channel(0.5), Sign(), Binary(0.3, 0.2)], ids=["channel", "sign", "binary"]
)
def test_weights_go_from_the_least_distortion_to_perfect_realism(known, name):
    points = [known.best(gamma, name) for gamma in (1e-3, 0.03, 0.3, 3.0, 100.0)]
    distortions, perceptions = zip(*points)
    assert list(distortions) == sorted(distortions, reverse=True)
    assert list(perceptions) == sorted(perceptions)
    for distortion, perception in points:
        assert distortion >= known.bound(perception) - 1e-9
    assert distortions[0] == pytest.approx(known.bound(0.0), rel=0.01)
    if name != "pearson":
        assert distortions[-1] == pytest.approx(known.least, rel=0.03)


def mutual(joint: np.ndarray) -> float:
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return float(np.sum(special.rel_entr(joint, product))) / math.log(2.0)


def least_rate(p: float, distortion: float, perception: float) -> float:
    """Returns the least rate by a convex program over the four probabilities of X and X̂."""
    margin = np.array([1.0 - p, p])
    constraints = [
        {"type": "eq", "fun": lambda j: j.reshape(2, 2).sum(1) - margin},
        {"type": "ineq", "fun": lambda j: distortion - j[1] - j[2]},
        {"type": "ineq", "fun": lambda j: perception - p + (j[1] + j[3])},
        {"type": "ineq", "fun": lambda j: perception + p - (j[1] + j[3])},
        {"type": "ineq", "fun": lambda j: j - 1e-9},
    ]
    start = np.array([1.0 - p, 1e-3, 1e-3, p - 1e-3])
    result = optimize.minimize(
        lambda j: mutual(np.maximum(j, 1e-15).reshape(2, 2)),
        start,
        method="SLSQP",
        constraints=constraints,
        options={"ftol": 1e-12, "maxiter": 500},
    )
    return float(result.fun)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_rate_distortion_perception_of_zeros_and_ones(p):
    for distortion in (0.02, 0.08, 0.15, 0.25, 0.35, 0.45):
        for perception in (0.0, 0.02, 0.05, 0.1, 0.2, 0.5):
            result = tradeoff.binary_rate(p, distortion, perception)
            expected = least_rate(p, distortion, perception)
            assert result == pytest.approx(expected, abs=2e-4), (distortion, perception)


def test_rates_at_the_ends():
    def entropy(p: float) -> float:
        return float(special.entr([p, 1.0 - p]).sum()) / math.log(2.0)

    assert tradeoff.binary_rate(0.3, 0.0, 0.0) == pytest.approx(entropy(0.3))
    assert tradeoff.binary_rate(0.3, 0.3, 0.3) == 0.0
    assert tradeoff.binary_rate(0.3, 0.3, 0.0) > 0.0
    assert tradeoff.binary_rate(0.3, 0.42, 0.0) == 0.0
    # With probability 1/2, perfect realism does not increase the rate.
    for distortion in (0.05, 0.2, 0.4):
        expected = 1.0 - entropy(distortion)
        for perception in (0.0, 0.3):
            assert tradeoff.binary_rate(0.5, distortion, perception) == pytest.approx(expected)


def test_decoders_of_zeros_and_ones():
    """The reference is a linear program over the decoding of a zero and of a one."""
    known = Binary(0.3, 0.2)
    kept = np.array([[1.0 - known.least, known.least], [known.least, 1.0 - known.least]])
    joint = np.array([1.0 - known.ones, known.ones])[:, None] * kept  # Y, X
    assert joint.sum(0)[1] == pytest.approx(0.3)
    assert mutual(joint) == pytest.approx(known.rate)
    for perception in (0.0, 0.05, 0.1, known.gap, 0.2):
        # P(X̂ = 1 | Y) for Y = 0 and 1.
        errors = joint[:, 0] - joint[:, 1]
        ones = joint.sum(1)
        result = optimize.linprog(
            errors, A_ub=[-ones], b_ub=[perception - 0.3], bounds=[(0.0, 1.0)] * 2
        )
        assert result.fun + 0.3 == pytest.approx(known.bound(perception), abs=1e-9)
    # The code is optimal for its error probabilities, not for other trade-offs.
    assert tradeoff.binary_rate(0.3, known.bound(0.0), 0.0) < known.rate


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Channel(0.0), "rate is above 0"),
        (lambda: Binary(0.6, 0.2), "that below 0.5"),
        (lambda: Binary(0.3, 0.3), "below that of ones"),
        (lambda: tradeoff.binary_rate(0.7, 0.1, 0.1), "at most a half"),
        (lambda: tradeoff.binary_rate(0.3, -0.1, 0.1), "0 or more"),
        (lambda: tradeoff.wasserstein_tradeoff(-0.1, 0.1, 0.1), "0 or more"),
        (lambda: Sign().best(1.0, "wasserstein"), "one of kl, reverse-kl"),
    ],
)
def test_invalid_tradeoffs_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_knees_of_known_shapes():
    t = np.linspace(0.0, 1.0, 101)
    # The knee of an arc is its middle; that of 1/x is where the slope equals that of the chord.
    assert knee(1.0 - np.sin(t * np.pi / 2), 1.0 - np.cos(t * np.pi / 2)) == 50
    x = np.linspace(1.0, 4.0, 301)
    assert x[knee(x, 1.0 / x)] == pytest.approx(2.0)
    # The knee does not depend on units, on the order of axes, or on the order of points.
    assert knee(1e6 * x, 1e-3 / x + 7.0) == knee(x, 1.0 / x) == knee(1.0 / x, x)
    order = np.random.default_rng(0).permutation(len(x))
    assert order[knee(x[order], 1.0 / x[order])] == knee(x, 1.0 / x)


def test_knees_ignore_dominated_points():
    x, y = [0.0, 0.1, 0.5, 1.0], [1.0, 0.2, 0.1, 0.0]
    assert knee(x, y) == 1
    # Dominated points do not change the scales, and duplicates have no effect.
    assert knee([9.0, 0.0, 0.1, 0.1, 0.5, 1.0], [0.5, 1.0, 0.2, 0.2, 0.1, 0.0]) == 2
    assert knee([0.0, 0.1, 0.5, 1.0, 0.0], [1.0, 0.2, 0.1, 0.0, 30.0]) == 1


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        ([0.0, 1.0], [1.0, 0.0], "; 2 of 2 are not"),
        ([0.0, 1.0, 2.0], [1.0, 0.0, 5.0], "; 2 of 3 are not"),
        ([], [], "; 0 of 0 are not"),
        ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], "; 1 of 3 are not"),
        ([0.0, 1.0, math.nan], [1.0, 0.0, 0.5], "point 2 .* not finite"),
        ([0.0, 1.0, 2.0], [math.inf, 0.0, -1.0], "point 0 .* not finite"),
        ([0.0, 1.0, 2.0], [1.0, 0.0], "two lists of one length; got 3 and 2"),
        ([0.0, 1.0, 2.0], [2.0, 1.0, 0.0], "nowhere below the chord"),
        ([0.0, 0.9, 1.0], [1.0, 0.9, 0.0], "nowhere below the chord"),
        ([0.0, 0.1, 0.4, 1.0], [1.0, 0.4, 0.1, 0.0], r"points \[1, 2\] are equally far"),
    ],
)
def test_curves_without_a_knee_are_refused(x, y, says):
    with pytest.raises(ValueError, match=says):
        knee(x, y)


def test_examples():
    # `analysis.knee` is the function, not the module.
    for module in (tradeoff, sys.modules[knee.__module__]):
        result = doctest.testmod(module)
        assert result.attempted > 0 and not result.failed
