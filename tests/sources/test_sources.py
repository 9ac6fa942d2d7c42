"""Small sources: their distributions and the known optima of their codes."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, stats

from tfc_models import sources
from tfc_models.sources import optimum

PROCESSES = [
    sources.Sawbridge(32),
    sources.Sawbridge(32, stationary=True, order=3),
    sources.Ramp(32),
    sources.Sinusoid(32),
    sources.Sphere(3, width=0.5),
    sources.banana(),
    sources.laplace(5),
]


@pytest.mark.parametrize("source", PROCESSES, ids=lambda s: s.name)
def test_samples_are_batched_and_seeded(source):
    samples = source.sample([3, 4], seed=(1, 2))
    assert samples.shape == [3, 4, *source.event_shape] and samples.dtype == tf.float32
    np.testing.assert_array_equal(samples, source.sample([3, 4], seed=(1, 2)))
    other = source.sample([3, 4], seed=(1, 3))
    assert not np.allclose(samples, other, atol=1e-3)
    rows = samples.numpy().reshape(12, -1)
    # On a coarse grid, two drops may fall between the same points.
    assert len(np.unique(rows.round(5), axis=0)) > 8
    assert source.sample(seed=(1, 2)).shape == source.event_shape


def test_sawbridges_drop_once_and_have_the_covariance_of_brownian_bridges():
    samples = sources.Sawbridge(33).sample(40_000, seed=(0, 1)).numpy()
    steps = np.diff(samples, axis=1)
    assert np.all(np.sum(steps < 0, axis=1) == 1)
    np.testing.assert_allclose(steps[steps > 0], 1 / 32, atol=1e-6)
    t = np.linspace(0, 1, 33)
    covariance = np.minimum.outer(t, t) - np.outer(t, t)
    np.testing.assert_allclose(np.cov(samples.T, bias=True), covariance, atol=0.01)
    # The distance of two of them is that of their drops.
    fine = sources.Sawbridge(4097).sample(2, seed=(0, 2)).numpy()
    drops = np.argmin(np.diff(fine, axis=1), axis=1) / 4096
    distance = np.mean(np.square(fine[0] - fine[1]))
    assert distance == pytest.approx(abs(drops[0] - drops[1]), abs=1e-3)


def test_a_stationary_sawbridges_drop_and_start_are_independent():
    """Z, the value before the drop, and V, the start, are computed from the samples."""
    points = 2049
    samples = sources.Sawbridge(points, stationary=True).sample(8000, seed=(0, 1)).numpy()
    drop = np.max(samples, axis=1)
    place = np.argmin(np.diff(samples, axis=1), axis=1) / (points - 1)
    start = (drop - place) % 1.0
    for values in (drop, start):
        assert stats.kstest(values, "uniform").statistic < 0.025
    table, *_ = np.histogram2d(drop, start, bins=8, range=[[0, 1], [0, 1]])
    assert stats.chi2_contingency(table).pvalue > 1e-3
    mean = samples.mean(axis=0)  # Stationary: equal statistics at all positions.
    assert np.ptp(mean) < 0.03 and abs(mean.mean()) < 0.01


def test_sums_keep_the_variance():
    one, many = (
        sources.Sinusoid(16, order=order).sample(20_000, seed=(0, 1)).numpy() for order in (1, 7)
    )
    assert one.var() == pytest.approx(0.5, rel=0.03) == many.var()
    # They are approximately normal.
    assert abs(stats.kurtosis(many[:, 3])) < 0.4 < 1.4 < abs(stats.kurtosis(one[:, 3]))


def test_ramps_and_sinusoids_are_shifts_of_one_function():
    ramp = sources.Ramp(64).sample(5, seed=(0, 1)).numpy()
    assert np.all(np.abs(ramp) <= 0.5)
    np.testing.assert_allclose(np.diff(ramp, axis=1) % 1.0, 1 / 63, atol=1e-5)
    wave = sources.Sinusoid(101).sample(5, seed=(0, 1)).numpy()
    np.testing.assert_allclose(wave[:, 0], wave[:, -1], atol=1e-5)
    np.testing.assert_allclose(np.mean(wave[:, :-1] ** 2, axis=1), 0.5, atol=1e-5)


@pytest.mark.parametrize("width", [0.0, 0.3, 1.0])
def test_a_sphere_has_the_stated_width(width):
    samples = sources.Sphere(2, width).sample(20_000, seed=(0, 1)).numpy()
    radius = np.linalg.norm(samples, axis=1)
    assert np.all(np.abs(radius - 1.0) <= width + 1e-5)
    if width:
        assert stats.kstest(radius, "uniform", (1.0 - width, 2.0 * width)).statistic < 0.015
    angle = np.arctan2(samples[:, 1], samples[:, 0]) / (2 * math.pi) + 0.5
    assert stats.kstest(angle, "uniform").statistic < 0.015


def test_the_banana_is_a_warped_normal_distribution():
    source = sources.banana()
    samples = source.sample(50_000, seed=(0, 1)).numpy().astype(np.float64)
    sine, cosine = math.sin(math.radians(240)), math.cos(math.radians(240))
    # Inverts the rotation and the warp.
    back = (samples + 1.0) @ np.array([[cosine, sine], [-sine, cosine]])
    straight = np.stack([back[:, 0], back[:, 1] + 0.1 * back[:, 0] ** 2], 1)
    for column, deviation in zip(straight.T, (3.0, 0.5)):
        assert stats.kstest(column / deviation, "norm").statistic < 0.01
    expected = stats.multivariate_normal([0, 0], [9.0, 0.25]).logpdf(straight[:100])
    np.testing.assert_allclose(source.log_prob(samples[:100].astype("f4")), expected, atol=1e-3)


def test_invalid_sources_are_refused():
    with pytest.raises(ValueError, match="points are 2 or more"):
        sources.Sawbridge(1)
    with pytest.raises(ValueError, match="width 0 to 1"):
        sources.Sphere(2, 1.5)


@pytest.mark.parametrize(
    ("distortion", "optimal", "gaussian"),
    [(0.05, 1.81, 3.17), (0.02, 3.09, 11.27), (0.01, 4.07, 25.4), (0.005, 5.07, 54.1)],
)
def test_published_figures_of_the_sawbridge(distortion, optimal, gaussian):
    assert sources.sawbridge_entropy(distortion) == pytest.approx(optimal, rel=0.005)
    assert sources.sawbridge_water_filling(distortion) == pytest.approx(gaussian, rel=0.005)


@pytest.mark.parametrize("distortion", [0.15, 0.06, 0.031, 0.017])
def test_the_sawbridges_optimum_is_the_least_entropy_of_its_cells(distortion):
    """The reference is the least entropy of eleven masses whose squares add up to 6D, by search."""
    random, best = np.random.default_rng(0), math.inf

    def entropy(masses: np.ndarray) -> float:
        positive = np.maximum(masses, 1e-12)
        return float(-np.sum(positive * np.log2(positive)))

    constraints = [
        {"type": "eq", "fun": lambda p: p.sum() - 1.0},
        {"type": "eq", "fun": lambda p: p @ p - 6.0 * distortion},
    ]
    for _ in range(40):
        start = random.dirichlet(np.full(11, random.choice([0.1, 0.3, 1.0])))
        result = optimize.minimize(entropy, start, bounds=[(0, 1)] * 11, constraints=constraints)
        if result.success and abs(result.x @ result.x - 6 * distortion) < 1e-6:
            best = min(best, result.fun)
    assert sources.sawbridge_entropy(distortion) == pytest.approx(best, abs=2e-3)


def test_optima_with_a_closed_form():
    for cells in (1, 2, 5, 30):
        bits = sources.sawbridge_entropy(1 / (6 * cells))
        assert bits == pytest.approx(math.log2(cells), abs=1e-9)
    curve = [sources.sawbridge_entropy(d) for d in np.linspace(0.002, 0.2, 500)]
    assert np.all(np.diff(curve) <= 1e-12) and curve[-1] == 0.0
    assert [sources.sawbridge_cells(lmbda) for lmbda in (0, 20, 50, 100, 200)] == [1, 2, 6, 12, 23]
    with pytest.raises(ValueError, match="a distortion is above 0"):
        sources.sawbridge_entropy(0.0)


def test_reverse_water_filling_starts_with_the_smallest_variance():
    # One component: ½ log2 (variance / D); two, at a level between them.
    assert sources.water_filling(np.array([4.0]), 1.0) == pytest.approx(1.0)
    assert sources.water_filling(np.array([1.0, 16.0]), 5.0) == pytest.approx(1.0)
    assert sources.water_filling(np.array([1.0, 16.0]), 17.0) == 0.0
    with pytest.raises(ValueError, match="too few"):
        sources.water_filling(np.array([1.0]), 0.5, rest=2.0)


def test_examples_in_the_text():
    assert doctest.testmod(optimum).failed == 0
