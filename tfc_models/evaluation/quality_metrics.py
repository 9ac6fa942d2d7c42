"""Metrics by name, measured beside PSNR and MS-SSIM."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from tfc_models.analysis import Metric
from tfc_models.metrics import EXTERNAL, METRICS, named
from tfc_models.packages import MissingError
from tfc_models.remote import digest_of


class QualityMetric(NamedTuple):
    """Metric of an original and a coded image.

    Attributes:
        shown: how tables, plots and BD-rates show it.
        identity: changes if values may change: name, version, weights.
        of_pair: metric of two images, sRGB uint8, height × width × 3; None if they are too small.
    """

    shown: Metric
    identity: str
    of_pair: Callable[[np.ndarray, np.ndarray], float | None]

    @property
    def name(self) -> str:
        """Key of the metric's values."""
        return self.shown.name


ALWAYS = ("psnr", "ms-ssim")
"""Metrics that every measurement has."""


def further_names() -> list[str]:
    """Returns the names of the metrics that can be added to a measurement.

    MSE is not one of them: PSNR is the same in decibels.
    """
    return [name for name in (*METRICS, *EXTERNAL) if name not in (*ALWAYS, "mse")]


def table_metric(name: str) -> Metric:
    """Returns how a metric appears in tables, plots and BD-rates."""
    return Metric.of_record(EXTERNAL[name] if name in EXTERNAL else METRICS[name])


def table_metrics() -> list[Metric]:
    """Returns all metrics of measurements, those of `ALWAYS` first."""
    return [table_metric(name) for name in (*ALWAYS, *further_names())]


def quality_metric(name: str, weights: Mapping[str, str | None] | None = None) -> QualityMetric:
    """Returns a metric by name, ready to measure.

    Args:
        name: one of `further_names`.
        weights: files or addresses of weights by metric; by default those of the environment, or
            those in the package.

    Raises:
        MissingError: its package, program or weights are missing; the message names the remedy.
    """
    if name in EXTERNAL:
        return _external(name)
    return _own(name, (weights or {}).get(name))


def _external(name: str) -> QualityMetric:
    record = EXTERNAL[name]
    measure = record.load()
    identity = record.identity() if record.identity else name

    def of_pair(original: np.ndarray, coded: np.ndarray) -> float | None:
        return measure(original, coded) if min(original.shape[:2]) >= record.min_side else None

    return QualityMetric(table_metric(name), identity, of_pair)


def _own(name: str, weights: str | None) -> QualityMetric:
    record = METRICS[name]
    if not weights and record.missing_weights:
        raise MissingError(record.missing_weights)
    metric = named(name, weights)
    source = record.weights.source(weights) if record.weights else None

    def of_pair(original: np.ndarray, coded: np.ndarray) -> float | None:
        value = float(metric.of_pair(original[None], coded[None]))
        return None if math.isnan(value) else value

    identity = f"{name} {digest_of(source)}" if source else name
    return QualityMetric(table_metric(name), identity, of_pair)
