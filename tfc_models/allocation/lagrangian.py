"""Large programs: Lagrangian relaxation by column generation, then an integer program on a core.

The dual function adds λ times the limited quantities to the costs, so that each image chooses its
option independently. Its value at any λ ≥ 0 is a lower bound of the optimum. A linear program over
the choices so far (columns) yields the next λ. At the optimal λ, nearly all images have one best
option. The others, whose best options differ by little, form the core, on which an integer program
meets the limits exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import optimize

from tfc_models.allocation import exact
from tfc_models.allocation.programs import Allocation, Program

ROWS = 2048  # images at once: these parts of the arrays fit into the processor's cache.
ITERATIONS = 200
DUAL_GAP = 1e-6
ENOUGH = 1e-5  # No larger core is tried if the gap is at most this.
CORES = (500, 2000, 8000)  # numbers of undecided options
CORE_SECONDS = 5.0
GOLDEN = 0.6180339887498949


class _Relaxation(NamedTuple):
    """Solution of the relaxed program: a lower bound, and a mixture of choices that has it.

    Attributes:
        bound: lower bound.
        multipliers: λ, one per limit.
        columns: choices, column × image.
        weights: share of each column in the mixture.
    """

    bound: float
    multipliers: np.ndarray
    columns: np.ndarray
    weights: np.ndarray


def solve(program: Program, start: np.ndarray) -> Allocation:
    """Returns an allocation with a bound.

    Args:
        program: the program.
        start: a choice that meets all limits.
    """
    relaxation = _relax(program, start)
    best, value = start, program.value(start)
    for size in CORES:
        choice = _integer(program, relaxation, size)
        if choice is not None and program.value(choice) < value:
            best, value = choice, program.value(choice)
        if value - relaxation.bound <= ENOUGH * abs(value):
            break
    return Allocation(best, value, min(relaxation.bound, value), "lagrangian")


def best_options(program: Program, multipliers: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the best option of each image at λ, and the value of the dual function."""
    choice = np.empty(len(program.costs), np.int32)
    total = 0.0
    for part in _parts(program):
        costs = _reduced(program, multipliers, part)
        choice[part] = costs.argmin(1)
        total += float(costs.min(1).sum())
    return choice, total - float(multipliers @ program.most)


def _relax(program: Program, start: np.ndarray) -> _Relaxation:
    """Maximizes the dual function by column generation."""
    multipliers = np.zeros(len(program.limits))
    choice, bound = best_options(program, multipliers)
    best = multipliers
    columns = [start.astype(np.int32), choice]
    while True:
        weights, upper, multipliers = _mixture(program, columns)
        is_last = len(columns) >= ITERATIONS or upper - bound <= DUAL_GAP * abs(upper)
        if is_last:
            return _Relaxation(bound, best, np.array(columns), weights)
        choice, lower = best_options(program, multipliers)
        if lower > bound:
            bound, best = lower, multipliers
        if any(np.array_equal(choice, column) for column in columns):
            # The mixture is optimal up to rounding errors of the linear program.
            return _Relaxation(bound, best, np.array(columns), weights)
        columns.append(choice)


def _mixture(program: Program, columns: list[np.ndarray]) -> tuple[np.ndarray, float, np.ndarray]:
    """Returns the cheapest mixture of choices within the limits, its costs, and its λ."""
    costs = np.array([program.value(choice) for choice in columns])
    excess = np.array([program.sums(choice) - program.most for choice in columns]).T
    cost_unit = max(float(np.ptp(costs)), 1e-300)
    units = np.maximum(np.abs(excess).max(1), 1e-300)
    result = optimize.linprog(
        (costs - costs.min()) / cost_unit,
        A_ub=excess / units[:, None],
        b_ub=np.zeros(len(units)),
        A_eq=np.ones((1, len(costs))),
        b_eq=[1.0],
        method="highs",
    )
    multipliers = np.maximum(-result.ineqlin.marginals, 0.0) * cost_unit / units
    return result.x, float(result.x @ costs), multipliers


def _integer(program: Program, relaxation: _Relaxation, size: int) -> np.ndarray | None:
    """Returns a choice that meets the limits, from the mixture and `size` undecided options."""
    base = _rounded(relaxation)
    costs = _excess_costs(program, relaxation.multipliers)
    costs[np.arange(len(base)), base] = np.inf
    usable = int(np.isfinite(costs).sum())
    undecided = np.argpartition(costs, min(size, usable - 1), axis=None)[: min(size, usable)]
    images, options = np.unravel_index(undecided, costs.shape)
    core = np.unique(images)
    images, options = np.append(core, images), np.append(base[core], options)
    is_fixed = np.ones(len(base), bool)
    is_fixed[core] = False
    fixed = np.flatnonzero(is_fixed)
    fixed_sums = [limit.values[fixed, base[fixed]].sum() for limit in program.limits]
    core_costs = program.costs[images, options]
    entries = exact.Entries(
        images,
        core_costs,
        np.array([limit.values[images, options] for limit in program.limits]),
        program.most - np.array(fixed_sums),
    )
    spread = float(np.ptp(core_costs)) * len(core)
    wanted = 0.5 * ENOUGH * abs(relaxation.bound) / max(spread, 1e-300)
    chosen = exact.choose(entries, min(max(wanted, exact.RELATIVE_GAP), 0.1), CORE_SECONDS)
    if chosen is None:
        return None
    base[images[chosen.variables]] = options[chosen.variables]
    return base if program.allows(base) else None


def _rounded(relaxation: _Relaxation) -> np.ndarray:
    """Returns a choice in which the images follow the columns in the shares of the mixture.

    Multiples of the golden ratio spread the columns evenly over the images, so that the sums of the
    choice are close to those of the mixture.
    """
    count = relaxation.columns.shape[1]
    places = (np.arange(count) * GOLDEN) % 1.0
    ends = np.cumsum(relaxation.weights) / relaxation.weights.sum()
    column = np.minimum(np.searchsorted(ends, places, side="right"), len(ends) - 1)
    return relaxation.columns[column, np.arange(count)].astype(np.int64)


def _excess_costs(program: Program, multipliers: np.ndarray) -> np.ndarray:
    """Returns by how much each option exceeds the best of its image at λ."""
    excess = np.empty_like(program.costs)
    for part in _parts(program):
        costs = _reduced(program, multipliers, part)
        np.subtract(costs, costs.min(1, keepdims=True), out=excess[part])
    return excess


def _reduced(program: Program, multipliers: np.ndarray, part: slice) -> np.ndarray:
    costs = program.costs[part].copy()
    for multiplier, limit in zip(multipliers, program.limits):
        costs += multiplier * limit.values[part]
    return costs


def _parts(program: Program) -> list[slice]:
    """Returns slices of the images."""
    return [slice(start, start + ROWS) for start in range(0, len(program.costs), ROWS)]
