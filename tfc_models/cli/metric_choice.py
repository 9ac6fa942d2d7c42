"""Metrics selected by --metric, with the weights of --weights."""

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
    """Returns the metrics of --metric. "all" means all metrics whose weights are available.

    Args:
        options: options of the command.
        reporter: reports the metrics that "all" leaves out.
        more: names that are valid in addition to the registered metrics.
    """
    requested = dict.fromkeys(n.strip().lower() for n in options.metric.split(",") if n.strip())
    known = (*METRICS, *more)
    for name in requested:
        if name != ALL and name not in known:
            raise UsageError(
                f"there is no metric {name!r}; the metrics are: {', '.join(known)}, or {ALL}."
            )
    if not requested:
        raise UsageError("--metric names no metric.")
    names = list(known) if ALL in requested else list(requested)
    for name in [n for n in names if n in METRICS and n not in options.weights]:
        text = METRICS[name].missing_weights
        if text and name in requested:
            raise UsageError(f"{text}.")
        if text:
            names.remove(name)
            reporter.line(f"{text}. It is skipped.")
    return names


def load_metrics(names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Returns the metrics by name, with the weights of --weights or the default weights."""
    try:
        return {name: named(name, options.weights.get(name)) for name in names}
    except (ValueError, OSError) as error:
        raise CommandError(one_line(error)) from error


def load_learned_metric(name: str, options: argparse.Namespace, **changes: Any) -> Any:
    """Returns the model of pim or pim-bands.

    Its weights are those of --weights, of the environment variable, or those in the package.

    Args:
        name: "pim" or "pim-bands".
        options: options of the command.
        **changes: settings to override.
    """
    from tfc_models.metrics.pim import LEARNED

    learned = LEARNED[name]
    try:
        return learned.load(options.weights.get(name) or learned.source, **changes)
    except (ValueError, OSError) as error:
        raise CommandError(one_line(error)) from error


def distance_names(
    options: argparse.Namespace, reporter: Reporter, more: tuple[str, ...] = ()
) -> list[str]:
    """Returns the selected metrics that have distances: all but PSNR, whose distance is MSE."""
    names = [name for name in metric_names(options, reporter, more) if name != "psnr"]
    if not names:
        raise UsageError("psnr is not a distance: use mse.")
    return names
