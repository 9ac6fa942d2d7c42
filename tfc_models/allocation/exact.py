"""Integer programs solved by HiGHS: small sets, and the undecided images of large ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import optimize, sparse

from tfc_models.allocation.programs import Allocation, Program, rounding_error

RELATIVE_GAP = 1e-9
SECONDS = 60.0  # Then the best choice so far counts, with its gap.
TIGHTENINGS = 5


class Entries(NamedTuple):
    """Variables of an integer program: one per image and option.

    Attributes:
        images: image by variable; every image has at least one variable.
        costs: objective by variable.
        values: limited quantities, limit × variable.
        most: upper limits of the sums.
    """

    images: np.ndarray
    costs: np.ndarray
    values: np.ndarray
    most: np.ndarray


class Chosen(NamedTuple):
    """Indices of the chosen variables, and a lower bound of the objective."""

    variables: np.ndarray
    bound: float


def solve(program: Program, seconds: float = SECONDS) -> Allocation | None:
    """Returns an optimal allocation; None if none was found.

    Args:
        program: the program.
        seconds: time limit.
    """
    images, options = np.nonzero(np.isfinite(program.costs))
    values = np.array([limit.values[images, options] for limit in program.limits])
    costs = program.costs[images, options]
    entries = Entries(images, costs, values.reshape(len(program.limits), len(images)), program.most)
    chosen = choose(entries, RELATIVE_GAP, seconds)
    if chosen is None:
        return None
    choice = np.zeros(len(program.costs), np.int64)
    choice[images[chosen.variables]] = options[chosen.variables]
    value = program.value(choice)
    return Allocation(choice, value, min(chosen.bound, value), "exact")


def choose(entries: Entries, relative_gap: float, seconds: float) -> Chosen | None:
    """Returns one variable per image that meet all limits; None if none were found."""
    groups, index = np.unique(entries.images, return_inverse=True)
    # Differences from the smallest value of each image, in units of the largest difference, keep
    # the numbers in the range for which the tolerances of HiGHS are meant.
    costs, cost_base = _relative(entries.costs, index)
    rows = [_relative(values, index) for values in entries.values]
    most = entries.most - np.array([base for _, base in rows])
    cost_unit = max(float(costs.max()), 1e-300)
    units = np.array([max(float(values.max()), 1e-300) for values, _ in rows])
    ones = np.ones(len(index))
    one_each = sparse.csr_array((ones, (index, np.arange(len(index)))), (len(groups), len(index)))
    each = optimize.LinearConstraint(one_each, 1, 1)
    matrix = np.array([values for values, _ in rows]).reshape(len(rows), len(index))
    bound, room = -np.inf, most.copy()
    for attempt in range(TIGHTENINGS):
        limited = optimize.LinearConstraint(matrix / units[:, None], -np.inf, room / units)
        result = optimize.milp(
            costs / cost_unit,
            integrality=ones,
            bounds=optimize.Bounds(0, 1),
            constraints=[each, limited] if rows else each,
            options={"mip_rel_gap": relative_gap, "time_limit": seconds},
        )
        if result.x is None:
            return None
        if attempt == 0 and result.mip_dual_bound is not None:
            bound = cost_base + cost_unit * result.mip_dual_bound
        variables = _largest(result.x, index, len(groups))
        excess = matrix[:, variables].sum(1) - most
        if np.all(excess <= rounding_error(entries.most)):
            return Chosen(variables, bound)
        # HiGHS allows small violations; limits of sizes are exact.
        room -= np.maximum(2 * excess, 0.0)
    return None


def _relative(values: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns values minus the smallest of their image, and the sum of the smallest ones."""
    least = np.full(index.max() + 1, np.inf)
    np.minimum.at(least, index, values)
    return values - least[index], float(least.sum())


def _largest(x: np.ndarray, index: np.ndarray, groups: int) -> np.ndarray:
    """Returns the variable with the largest value in each group."""
    order = np.lexsort((x, index))
    last = np.searchsorted(index[order], np.arange(groups), side="right") - 1
    return order[last]
