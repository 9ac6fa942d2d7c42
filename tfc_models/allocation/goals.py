"""Goals in terms of bytes and metrics, and their programs over measurements."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfc_models.allocation.measurements import Measurement
from tfc_models.allocation.programs import Limit, Program, program
from tfc_models.evaluation.quality_metrics import ALWAYS, further_names
from tfc_models.metrics import EXTERNAL, METRICS

BYTES, MSE, PSNR = "bytes", "mse", "psnr"
LOSSLESS_PSNR = 100.0
"""PSNR of lossless files, in decibels, so that means are finite."""
Rows = Sequence[Sequence["Measurement | None"]]
"""Measurements by image and candidate."""


def metric_names() -> list[str]:
    """Returns the metrics of objectives and limits."""
    return [MSE, *ALWAYS, *further_names()]


def is_higher_better(name: str) -> bool:
    """Returns whether higher values of a quantity are better."""
    if name == BYTES:
        return False
    record = EXTERNAL[name] if name in EXTERNAL else METRICS[name]
    return record.higher_is_better


@dataclasses.dataclass(frozen=True)
class Goal:
    """Objective and limits.

    A limit of a metric is a minimum if higher values are better, else a maximum.

    Attributes:
        optimize: quantity to optimize: "bytes", "mse" or another metric.
        total: largest total of bytes.
        means: limits of means over the images, by metric.
        each: limits of every single image, by metric.
    """

    optimize: str = MSE
    total: int | None = None
    means: Mapping[str, float] = dataclasses.field(default_factory=dict)
    each: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        names = metric_names()
        if self.optimize not in (BYTES, *names):
            raise ValueError(
                f"there is no quantity {self.optimize!r}; choose one of {BYTES}, "
                f"{', '.join(names)}."
            )
        for name in (*self.means, *self.each):
            if name not in names:
                raise ValueError(
                    f"there is no metric {name!r}; the metrics are: {', '.join(names)}."
                )
        if self.optimize in self.means or (self.optimize == BYTES and self.total is not None):
            raise ValueError(f"{self.optimize} is optimized and cannot be limited too.")
        if self.total is None and not self.means and not self.each:
            raise ValueError("there is no limit: every image would have its best quality.")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that must be measured in addition to MSE, which gives PSNR."""
        names = dict.fromkeys((self.optimize, *self.means, *self.each))
        return tuple(name for name in names if name not in (BYTES, MSE, PSNR))

    def available(self, rows: Rows) -> np.ndarray:
        """Returns which options have all values and meet the limits of every single image."""
        names = dict.fromkeys((BYTES, self.optimize, *self.means, *self.each))
        usable = np.all([np.isfinite(values(rows, name)) for name in names], axis=0)
        for name, limit in self.each.items():
            sign = _sign(name)
            usable &= ~(sign * values(rows, name) > sign * limit)
        return usable

    def program(self, rows: Rows) -> Program:
        """Returns the program over images that each have an available option."""
        available = self.available(rows)
        limits = [
            Limit(name, _sign(name) * values(rows, name), _sign(name) * mean * len(rows))
            for name, mean in self.means.items()
        ]
        # The last limit is the one that an infeasible combination names.
        if self.total is not None:
            limits.append(Limit(BYTES, values(rows, BYTES), float(self.total)))
        costs = _sign(self.optimize) * values(rows, self.optimize)
        return program(costs, tuple(limits), available)


class Totals(NamedTuple):
    """Total bytes, and means over the images, of one option per image.

    Attributes:
        bytes: total.
        mse: mean.
        psnr: mean in decibels; lossless files count as 100 dB.
        further: means of other metrics.
    """

    bytes: int
    mse: float
    psnr: float
    further: dict[str, float]


def totals(rows: Rows, choice: Sequence[int], metrics: Sequence[str] = ()) -> Totals:
    """Returns the totals of one option per image."""
    chosen = [[row[index]] for row, index in zip(rows, choice)]

    def mean(name: str) -> float:
        return float(values(chosen, name).mean())

    size = int(values(chosen, BYTES).sum())
    return Totals(size, mean(MSE), mean(PSNR), {name: mean(name) for name in metrics})


def best_single(problem: Program) -> int | None:
    """Returns the best option that is the same for all images; None if none meets the limits."""
    images, options = problem.costs.shape
    allowed = {
        option: value
        for option in range(options)
        if math.isfinite(value := problem.value(np.full(images, option)))
        and problem.allows(np.full(images, option))
    }
    return min(allowed, key=lambda option: allowed[option]) if allowed else None


def values(rows: Rows, name: str) -> np.ndarray:
    """Returns a quantity by image and candidate; NaN where it is missing."""
    if name == PSNR:
        errors = values(rows, MSE)
        with np.errstate(divide="ignore"):
            return np.minimum(10.0 * np.log10(255.0**2 / errors), LOSSLESS_PSNR)

    def value(measurement: Measurement | None) -> float:
        number = None if measurement is None else measurement.value(name)
        return math.nan if number is None else float(number)

    return np.array([[value(measurement) for measurement in row] for row in rows])


def _sign(name: str) -> float:
    """Returns the factor that makes lower values better."""
    return -1.0 if is_higher_better(name) else 1.0
