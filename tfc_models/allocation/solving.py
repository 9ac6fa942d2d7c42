"""Choice of the solver, and the check that a program is feasible."""

from __future__ import annotations

import numpy as np

from tfc_models.allocation import exact, lagrangian
from tfc_models.allocation.programs import Allocation, InfeasibleError, Program

EXACT_VARIABLES = 3000
"""Larger programs are solved by the Lagrangian method."""
METHODS = ("exact", "lagrangian")


def solve(program: Program, method: str | None = None) -> Allocation:
    """Returns the best choice of one option per image that meets all limits.

    Args:
        program: the program.
        method: "exact" or "lagrangian"; by default "exact" for small programs.

    Raises:
        InfeasibleError: no choice meets all limits.
    """
    if method not in (None, *METHODS):
        raise ValueError(f"the method is one of {', '.join(METHODS)}; got {method!r}.")
    if method is None:
        method = "exact" if program.costs.size <= EXACT_VARIABLES else "lagrangian"
    return _solve(program, _feasible(program, method), method)


def _feasible(program: Program, method: str) -> np.ndarray:
    """Returns a choice that meets all limits, found by minimizing them one after the other."""
    choice = program.costs.argmin(1)
    for index, limit in enumerate(program.limits):
        up_to_here = Program(program.costs, program.limits[: index + 1])
        if up_to_here.allows(choice):
            continue
        # The choice may be that of an earlier limit, or the cheapest, which meets none.
        smallest = _solve(program.minimizing(index), choice, method)
        if not up_to_here.allows(smallest.choice):
            before = tuple(limit.name for limit in program.limits[:index])
            raise InfeasibleError(limit, smallest.value, before, smallest.bound > limit.most)
        choice = smallest.choice
    return choice


def _solve(program: Program, start: np.ndarray, method: str) -> Allocation:
    """Returns the best choice, given one that meets all limits."""
    if program.allows(program.costs.argmin(1)):
        choice = program.costs.argmin(1)
        value = program.value(choice)
        return Allocation(choice, value, value, "exact")
    if method == "exact":
        allocation = exact.solve(program)
        if allocation is not None:
            return allocation
    return lagrangian.solve(program, start)
