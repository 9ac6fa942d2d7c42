"""Programs that choose one option per image: an objective under limits on sums over the images.

Options are, for example, qualities. With distortions d, sizes r and perceptual distances p of the
options, and a one-hot vector x for each image, the programs of Kirmemis's thesis (equations 4.6
and 4.7) are

    minimize Σ dᵢᵀxᵢ  subject to  Σ rᵢᵀxᵢ ≤ R  and, for the second,  Σ pᵢᵀxᵢ ≤ P.

Quantities of which higher values are better enter with a negative sign.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np


class Limit(NamedTuple):
    """Upper limit of the sum of a quantity over all images.

    Attributes:
        name: name of the quantity, for messages.
        values: the quantity by image and option, float64.
        most: largest sum that is allowed.
    """

    name: str
    values: np.ndarray
    most: float


@dataclasses.dataclass(frozen=True)
class Program:
    """Objective and limits.

    `program` makes one from arrays with missing options.

    Attributes:
        costs: objective by image and option, float64; infinite where an option is not available.
        limits: limits; their values are 0 where an option is not available.
    """

    costs: np.ndarray
    limits: tuple[Limit, ...] = ()

    def sums(self, choice: np.ndarray) -> np.ndarray:
        """Returns the sums of all limited quantities for an option index per image."""
        rows = np.arange(len(choice))
        return np.array([limit.values[rows, choice].sum() for limit in self.limits])

    def value(self, choice: np.ndarray) -> float:
        """Returns the objective for an option index per image."""
        return float(self.costs[np.arange(len(choice)), choice].sum())

    def allows(self, choice: np.ndarray) -> bool:
        """Returns whether a choice meets all limits, up to rounding errors of the sums."""
        return bool(np.all(self.sums(choice) <= self.most + rounding_error(self.most)))

    @property
    def most(self) -> np.ndarray:
        """Upper limits of all sums."""
        return np.array([limit.most for limit in self.limits], np.float64)

    def minimizing(self, index: int) -> Program:
        """Returns the program that minimizes a limited quantity under the limits before it."""
        costs = np.where(np.isfinite(self.costs), self.limits[index].values, np.inf)
        return Program(costs, self.limits[:index])


class Allocation(NamedTuple):
    """Solution of a program.

    Attributes:
        choice: option index by image.
        value: objective.
        bound: proven lower bound of the objective of any choice that meets the limits.
        method: "exact" or "lagrangian".
    """

    choice: np.ndarray
    value: float
    bound: float
    method: str

    @property
    def gap(self) -> float:
        """Largest share by which the objective may exceed the optimum."""
        excess = max(self.value - self.bound, 0.0)
        if not excess:
            return 0.0
        return excess / abs(self.bound) if self.bound else math.inf


class InfeasibleError(ValueError):
    """Raised if no choice was found that meets all limits.

    Attributes:
        limit: limit that is not met.
        least: smallest sum that a choice was found for which also meets the limits before it.
        before: names of the limits before it.
        is_proven: whether a lower bound proves that there is no such choice.
    """

    def __init__(
        self, limit: Limit, least: float, before: tuple[str, ...], is_proven: bool = True
    ) -> None:
        beside = f" with the limits of {', '.join(before)}" if before else ""
        super().__init__(
            f"the smallest sum of {limit.name} that was found is {least:.7g}{beside}, "
            f"above the limit {limit.most:.7g}."
        )
        self.limit, self.least, self.before, self.is_proven = limit, least, before, is_proven


def program(
    costs: np.ndarray, limits: tuple[Limit, ...] = (), available: np.ndarray | None = None
) -> Program:
    """Returns a checked program.

    Args:
        costs: objective by image and option.
        limits: limits with values by image and option.
        available: whether each image has each option; by default, all.

    Raises:
        ValueError: shapes differ, a value is not finite, or an image has no option.
    """
    costs = np.asarray(costs, np.float64)
    if costs.ndim != 2 or not costs.size:
        raise ValueError(f"costs have a row per image and a column per option; got {costs.shape}.")
    limits = tuple(limit._replace(values=np.asarray(limit.values, np.float64)) for limit in limits)
    for name, values in (("costs", costs), *((limit.name, limit.values) for limit in limits)):
        if values.shape != costs.shape:
            raise ValueError(f"{name} has the shape {values.shape}; costs have {costs.shape}.")
        usable = np.isfinite(values) if available is None else np.isfinite(values) | ~available
        if not usable.all():
            raise ValueError(f"{name}: a value of an available option is not finite.")
    if available is None:
        return Program(costs, limits)
    if not available.any(axis=1).all():
        missing = int(np.argmin(available.any(axis=1)))
        raise ValueError(f"image {missing} has no option.")
    limits = tuple(limit._replace(values=np.where(available, limit.values, 0)) for limit in limits)
    return Program(np.where(available, costs, np.inf), limits)


def rounding_error(sums: np.ndarray) -> np.ndarray:
    """Returns a bound of the rounding errors of sums; far below one byte for sizes."""
    return 1e-12 * np.abs(sums)
