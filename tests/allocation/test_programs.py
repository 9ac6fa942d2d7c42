"""Allocation programs: optimal choices, valid bounds, and messages for infeasible limits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tfc_models import allocation
from tfc_models.allocation import InfeasibleError, Limit, Program, program, solve


def random_program(seed: int, images: int, options: int, limits: int) -> Program:
    """Returns a program with curves like those of codecs, some options of which are missing."""
    rng = np.random.default_rng(seed)
    quality = np.linspace(0, 1, options)
    scale, steepness = rng.lognormal(0, 1, (images, 1)), rng.uniform(1, 4, (images, 1))
    noise = 1 + 0.1 * rng.normal(size=(3, images, options))
    sizes = np.ceil(2000 * scale * np.exp(4 * quality) * noise[0])
    costs = 300 * np.sqrt(scale) * np.exp(-steepness * quality) * noise[1]
    distances = 0.5 * np.exp(-steepness * quality / 2) * noise[2]
    other = rng.random((images, options))
    available = rng.random((images, options)) < 0.9
    available[np.arange(images), rng.integers(0, options, images)] = True
    names = ("bytes", "lpips", "other")
    values = [np.where(available, v, 0) for v in (sizes, distances, other)]
    shares = rng.uniform(0.05, 1.0, 3)

    def within(value: np.ndarray, share: float) -> float:
        known = np.where(available, value, np.inf).min(1).sum(), value.max(1).sum()
        return float(known[0] + share * (known[1] - known[0]))

    made = [Limit(n, v, within(v, s)) for n, v, s in zip(names, values, shares)]
    return program(costs, tuple(made[:limits]), available)


def brute_force(problem: Program) -> float:
    """Returns the optimum over all choices; infinity if none meets the limits."""
    images, options = problem.costs.shape
    best = math.inf
    for choice in itertools.product(range(options), repeat=images):
        if problem.allows(np.array(choice)):
            best = min(best, problem.value(np.array(choice)))
    return best


@pytest.mark.parametrize("method", ["exact", "lagrangian"])
@pytest.mark.parametrize("limits", [0, 1, 2, 3])
def test_small_programs_agree_with_brute_force(method: str, limits: int):
    for seed in range(12):
        problem = random_program(seed, 4, 5, limits)
        optimum = brute_force(problem)
        if math.isinf(optimum):
            with pytest.raises(InfeasibleError):
                solve(problem, method)
            continue
        found = solve(problem, method)
        assert problem.allows(found.choice)
        assert found.value == pytest.approx(problem.value(found.choice))
        assert found.value == pytest.approx(optimum, rel=1e-6)
        assert found.bound <= optimum * (1 + 1e-9)


@pytest.mark.parametrize("limits", [1, 2, 3])
def test_lagrangian_bound_is_valid_and_gap_small(limits: int):
    problem = random_program(limits, 60, 11, limits)
    exact, large = solve(problem, "exact"), solve(problem, "lagrangian")
    assert large.method == "lagrangian"
    assert problem.allows(large.choice)
    assert large.bound <= exact.value * (1 + 1e-9) <= large.value * (1 + 2e-9)
    assert large.gap < 1e-2 and exact.gap < 1e-6


@pytest.mark.parametrize("images", [5000, pytest.param(100_000, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("limits", [1, 2])
def test_large_sets_have_a_gap_below_a_hundredth_of_a_percent(images: int, limits: int):
    problem = random_program(7, images, 101, limits)
    found = solve(problem)
    assert found.method == "lagrangian"
    assert problem.allows(found.choice)
    assert found.gap < 1e-4


def test_identical_images_are_divided_over_two_options():
    # At the optimal multiplier every image has two best options.
    sizes = np.tile([100.0, 300.0], (2000, 1))
    costs = np.tile([10.0, 4.0], (2000, 1))
    found = solve(program(costs, (Limit("bytes", sizes, 300_000.0),)))
    assert np.count_nonzero(found.choice) == 500
    assert found.gap < 1e-9


def test_byte_limits_are_met_to_the_byte():
    rng = np.random.default_rng(1)
    sizes = rng.integers(10**6, 10**8, (30, 4)).astype(float)
    costs = rng.random((30, 4))
    exact_sum = float(sizes[:, 1].sum())
    found = solve(program(costs, (Limit("bytes", sizes, exact_sum),)))
    assert sizes[np.arange(30), found.choice].sum() <= exact_sum


def test_without_effective_limits_every_image_has_its_best_option():
    problem = random_program(3, 50, 7, 0)
    found = solve(problem)
    assert np.array_equal(found.choice, problem.costs.argmin(1)) and found.gap == 0


@pytest.mark.parametrize("method", ["exact", "lagrangian"])
def test_an_infeasible_limit_is_named_with_the_nearest_feasible_sum(method: str):
    sizes, distances = np.array([[10.0, 20.0], [30.0, 50.0]]), np.array([[4.0, 1.0], [6.0, 2.0]])
    costs = np.zeros((2, 2))
    with pytest.raises(InfeasibleError, match="was found is 40, above the limit 39") as error:
        solve(program(costs, (Limit("bytes", sizes, 39.0),)), method)
    assert error.value.least == 40 and error.value.limit.name == "bytes"
    both = Limit("lpips", distances, 7.0), Limit("bytes", sizes, 45.0)
    with pytest.raises(InfeasibleError, match="found is 50 with the limits of lpips") as error:
        solve(program(costs, both), method)
    assert error.value.before == ("lpips",)


def test_invalid_programs_are_refused():
    costs = np.ones((2, 3))
    with pytest.raises(ValueError, match="a row per image"):
        program(np.ones(3))
    with pytest.raises(ValueError, match=r"bytes has the shape \(2, 2\)"):
        program(costs, (Limit("bytes", np.ones((2, 2)), 1.0),))
    with pytest.raises(ValueError, match="not finite"):
        program(np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match="image 1 has no option"):
        program(costs, available=np.array([[True] * 3, [False] * 3]))
    with pytest.raises(ValueError, match="exact, lagrangian"):
        solve(program(costs), "greedy")
    missing = np.array([[np.nan, 1.0]])
    assert allocation.solve(program(missing, available=np.array([[False, True]]))).choice == [1]
