"""Metrics of --metric, and the weights of their options."""

from __future__ import annotations

import argparse
from typing import Any

from tfc_models.cli.errors import CommandError, UsageError, one_line
from tfc_models.cli.output import Reporter
from tfc_models.metrics import METRICS, named

ALL = "all"


UNTRAINED = {"pim-untrained": "pim", "pim-bands-untrained": "pim-bands"}


def metric_names(
    options: argparse.Namespace, reporter: Reporter, more: tuple[str, ...] = ()
) -> list[str]:
    """Those of --metric, of the table and `more`; "all" is what there are weights for."""
    asked = dict.fromkeys(n.strip().lower() for n in options.metric.split(",") if n.strip())
    known = (*METRICS, *more)
    for name in asked:
        if name != ALL and name not in known:
            raise UsageError(
                f"there is no metric {name!r}; the metrics are: {', '.join(known)}, or {ALL}."
            )
    if not asked:
        raise UsageError("there is nothing to measure: give --metric.")
    names = list(known) if ALL in asked else list(asked)
    for name in [n for n in names if n in METRICS and n not in options.weights]:
        text = METRICS[name].missing_weights
        if text and name in asked:
            raise UsageError(f"{text}.")
        if text:
            names.remove(name)
            reporter.line(f"{text}. It is left out.")
    return names


def metrics_of(names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Returns the metrics by name, with the weights of the options or the default ones."""
    try:
        return {name: named(name, options.weights.get(name)) for name in names}
    except (ValueError, OSError) as error:
        raise CommandError(one_line(error)) from error


def learned_of(name: str, options: argparse.Namespace, **changes: Any) -> Any:
    """The pim or pim-bands of its option, of the environment, or else the one that is shipped."""
    from tfc_models.metrics.pim import LEARNED

    learned = LEARNED[name]
    try:
        return learned.load(options.weights.get(name) or learned.source, **changes)
    except (ValueError, OSError) as error:
        raise CommandError(one_line(error)) from error


def distance_names(
    options: argparse.Namespace, reporter: Reporter, more: tuple[str, ...] = ()
) -> list[str]:
    """Returns the metrics that are distances: all but PSNR, which is MSE in other words."""
    names = [name for name in metric_names(options, reporter, more) if name != "psnr"]
    if not names:
        raise UsageError("psnr is no distance: take mse.")
    return names
