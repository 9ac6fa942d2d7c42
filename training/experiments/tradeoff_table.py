"""Trained decoders compared to theory: tables, gates and a figure."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from absl import logging
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfc_models.analysis import knee
from tfc_models.analysis.plots import FAINT, INK, SETTINGS
from tfc_models.analysis.tradeoff import Reached
from tfc_models.realism import (
    divergence_named,
)
from tfc_models.training.source_plots import BLUE, ORANGE, save_webp
from training.experiments.source_comparison import Gate, table
from training.experiments.tradeoff_decoders import TASKS, Decoders, Task, beta_of, checked_gammas

# Tolerances in percent of a curve's size: below it, by sampling error, and of the distance from the
# optimum of separate decoders, of the conditioned decoder, and at the ends of the curve.
BELOW, SEPARATE, CONDITIONED, END = 1.0, 5.0, 15.0, 8.0
BETAS = 21  # values of β from 0 to 1 at which the conditioned decoder is measured, too


class Comparison(NamedTuple):
    """Results for one source.

    Attributes:
        task: the source and its code.
        divergence: name of the divergence.
        gammas: weights of the distortion, largest first.
        best: optimum for each weight.
        separate: results of the decoders trained for one weight.
        conditioned: results of the decoder conditioned on β at these weights.
        along: its results at BETAS values of β from 0 to 1.
    """

    task: Task
    divergence: str
    gammas: list[float]
    best: list[Reached]
    separate: list[Reached]
    conditioned: list[Reached]
    along: list[Reached]


def check_settings(
    only: Sequence[str], divergence: str, gammas: Sequence[str], output: pathlib.Path | None
) -> list[float]:
    """Returns the weights as numbers; raises ValueError for invalid settings."""
    names = ", ".join(TASKS)
    if unknown := set(only) - set(TASKS):
        raise ValueError(f"no source {', '.join(sorted(unknown))}; the sources are {names}.")
    if not only:
        raise ValueError(f"--only is empty; the sources are {names}.")
    if output and (output.suffix != ".webp" or not output.parent.is_dir()):
        raise ValueError(f"--output must be a .webp file in an existing folder; got {output}.")
    divergence_named(divergence)
    try:
        return checked_gammas([float(gamma) for gamma in gammas])
    except ValueError:
        text = ",".join(gammas)
        raise ValueError(
            f"--gammas must be two or more different numbers above 0; got {text}."
        ) from None


def compare(
    task: Task,
    divergence: str,
    gammas: Sequence[float],
    steps: int,
    batch: int,
    samples: int,
    seed: int = 0,
) -> Comparison:
    """Trains and measures separate decoders and a conditioned one."""
    separate, conditioned = (
        Decoders(task, divergence, gammas, is_conditioned, seed) for is_conditioned in (False, True)
    )
    for decoders, label in ((separate, "for each weight"), (conditioned, "for all weights")):
        logging.info("%s: a decoder %s, %d steps", task.title, label, steps)
        decoders.train(steps, batch)
    betas = np.linspace(0.0, 1.0, BETAS)
    return Comparison(
        task,
        divergence,
        separate.gammas,
        [task.theory.best(gamma, divergence) for gamma in separate.gammas],
        [separate.measure(i, samples) for i in range(len(gammas))],
        [conditioned.measure(beta_of(gamma, gammas), samples) for gamma in separate.gammas],
        [conditioned.measure(float(beta), max(1, samples // 8)) for beta in betas],
    )


def comparison_table(comparison: Comparison) -> str:
    """Returns a Markdown table of a comparison, and its knees."""
    task, theory = comparison.task, comparison.task.theory
    rows = []
    for gamma, *points in zip(
        comparison.gammas, comparison.best, comparison.separate, comparison.conditioned
    ):
        cells = [f"{p.distortion:.3f}, {p.perception:.3f}" for p in points]
        excess = [
            f"{round(p.distortion - theory.bound(p.perception), 3) + 0.0:.3f}" for p in points
        ]
        rows.append((f"{gamma:g}", f"{beta_of(gamma, comparison.gammas):.2f}", *cells, *excess[1:]))
    header = (f"{task.name}: γ", "β", f"best D, {task.perception}", "a decoder for each γ")
    header += ("one for all γ", "D above the curve, each γ", "one for all γ")
    best, conditioned = (
        _knee(comparison.gammas, points) for points in (comparison.best, comparison.conditioned)
    )
    if best == "none":  # The curve is a straight line, and a knee of trained decoders is noise.
        return table(header, rows)
    text = f"Knee over these γ: {best} of the optimum, {conditioned} of one decoder for all γ."
    return f"{table(header, rows)}\n\n{text}"


def _knee(gammas: Sequence[float], points: Sequence[Reached]) -> str:
    """Returns the γ at the knee of a curve, or "none"."""
    try:
        return f"{gammas[knee(*zip(*points))]:g}"
    except ValueError:
        return "none"


def comparison_gates(comparison: Comparison) -> list[Gate]:
    """Returns the gates: no decoder is below the curve, and all are near their optimum.

    Values are in percent of the distance of the curve's ends, in distortion and in perception.
    """
    theory, best = comparison.task.theory, comparison.best
    separate, conditioned = comparison.separate, comparison.conditioned
    height, width = theory.bound(0.0) - theory.least, theory.gap

    def above_curve(points: Sequence[Reached]) -> list[float]:
        return [100.0 * (p.distortion - theory.bound(p.perception)) / height for p in points]

    def excess(points: Sequence[Reached]) -> float:
        """Returns the largest distance above the curve, relative to the optimum's."""
        return max(a - b for a, b in zip(above_curve(points), above_curve(best)))

    def distance(points: Sequence[Reached]) -> float:
        """Returns the largest distance from the optimum."""
        return 100.0 * max(
            max(abs(p.distortion - b.distortion) / height, abs(p.perception - b.perception) / width)
            for p, b in zip(points, best)
        )

    first, last = separate[0], separate[-1]
    ends = 100.0 * max((first.distortion - theory.least) / height, last.perception / width)
    lowest = min(above_curve([*separate, *conditioned, *comparison.along]))
    return [
        Gate(f"{comparison.task.name}: {name}, %", value, low, high)
        for name, value, low, high in (
            ("lowest point above the curve", lowest, -BELOW, 100.0),
            ("each γ, above the curve beyond the optimum", excess(separate), -100.0, SEPARATE),
            ("all γ, above the curve beyond the optimum", excess(conditioned), -100.0, CONDITIONED),
            ("each γ, distance from the optimum", distance(separate), 0.0, SEPARATE),
            ("all γ, distance from the optimum", distance(conditioned), 0.0, CONDITIONED),
            ("decoders for the ends, distance from the curve's ends", ends, -BELOW, END),
        )
    ]


def plot(comparisons: Sequence[Comparison], path: pathlib.Path) -> None:
    """Plots distortion over perception, with a panel for each source."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(3.1 * len(comparisons), 3.3), layout="constrained")
        panels = figure.subplots(1, len(comparisons), squeeze=False)[0]
        for axes, comparison in zip(panels, comparisons):
            _panel(axes, comparison)
        panels[0].set_ylabel("mean squared error")
        panels[0].legend(frameon=False, fontsize=8)
    save_webp(figure, path, colors=24)


def _panel(axes: Axes, comparison: Comparison) -> None:
    theory = comparison.task.theory
    perceptions = np.linspace(0.0, 1.06 * theory.gap, 100)
    bound = [theory.bound(p) for p in perceptions]
    axes.plot(perceptions, bound, color=INK, linewidth=1.6, label="lower bound")
    weights = np.geomspace(0.25 * min(comparison.gammas), 4.0 * max(comparison.gammas), 60)
    best = [theory.best(gamma, comparison.divergence)[::-1] for gamma in weights]
    dash = {"color": "#777777", "linestyle": (0, (1, 1.2)), "linewidth": 1.8}
    axes.plot(*zip(*best), label="optimum for this divergence", **dash)
    along = [p[::-1] for p in comparison.along]
    style = {"color": ORANGE, "marker": "s", "markersize": 3, "linewidth": 0.8}
    axes.plot(*zip(*along), label="one decoder, given β", **style)
    ring = {"marker": "o", "markersize": 8, "markerfacecolor": "none", "linestyle": "none"}
    each = [p[::-1] for p in comparison.separate]
    axes.plot(*zip(*each), color=BLUE, label="a decoder for each γ", zorder=4, **ring)
    axes.locator_params(nbins=6)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(comparison.task.title, loc="left", fontsize=10)
    axes.set_xlabel(f"perception: {comparison.task.perception}")
