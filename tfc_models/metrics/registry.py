"""Registry of image metrics, collected from the modules of this package.

To add a metric, add a module with its function and a list `RECORDS`; commands, training and
evaluation then offer it. `register` adds one from outside the package.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import pkgutil

from tfc_models.metrics.record import ExternalMetric, Metric

METRICS: dict[str, Metric] = {}
"""Metrics computed here, by name."""
EXTERNAL: dict[str, ExternalMetric] = {}
"""Metrics of other projects, by name."""


def register(record: Metric | ExternalMetric) -> None:
    """Adds a metric. Raises ValueError if another one has its name."""
    if record.name in METRICS or record.name in EXTERNAL:
        raise ValueError(f"there is a metric {record.name!r} already; choose another name.")
    if isinstance(record, Metric):
        METRICS[record.name] = record
    else:
        EXTERNAL[record.name] = record


def named(name: str, weights: str | os.PathLike[str] | None = None) -> Metric:
    """Returns the metric of a name.

    Args:
        name: a key of `METRICS`.
        weights: file or address of its weights; by default the one that the metric's environment
            variable names, or the one in the package.
    """
    if name not in METRICS:
        raise ValueError(f"there is no metric {name!r}; the metrics are: {', '.join(METRICS)}.")
    return METRICS[name].with_weights(weights)


def metrics_with_weights() -> list[str]:
    """Returns the names of metrics that have weights."""
    return [name for name, metric in METRICS.items() if metric.weights]


def tunable_metrics() -> list[str]:
    """Returns the names of metrics that an encoder search can minimize."""
    return [name for name, metric in METRICS.items() if metric.squared_error_per_unit]


def _register_own() -> None:
    records: list[Metric | ExternalMetric] = []
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules([str(pathlib.Path(__file__).parent)]):
        if module.name != "registry":
            records += getattr(importlib.import_module(f"{package}.{module.name}"), "RECORDS", ())
    for record in sorted(records, key=lambda record: (record.position, record.name)):
        register(record)


_register_own()
