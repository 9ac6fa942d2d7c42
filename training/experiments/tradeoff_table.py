"""Trained decoders beside what is known of their sources: tables, gates, a figure."""

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
from tfc_models.training.source_plots import BLUE, ORANGE, save
from training.experiments.source_comparison import Gate, table
from training.experiments.tradeoff_decoders import TASKS, Decoders, Task, beta_of, checked_gammas

# In percent of a curve's size: how far below it sampling may take a decoder, and how far from what
# theory says training.
BELOW, SEPARATE, ONE, END = 1.0, 5.0, 15.0, 8.0
# Betas between those of the weights, at which one decoder for all is measured, too.
BETWEEN = 21


class Comparison(NamedTuple):
    """Of one source.

    Attributes:
        task: the source, and its code.
        divergence: by name.
        gammas: weights of the distortion, from the largest.
        best: what a decoder can reach for each.
        separate: what decoders that were trained for one weight reach.
        one: what the decoder reaches that is told β.
        along: the same at BETWEEN values of β from 0 to 1.
    """

    task: Task
    divergence: str
    gammas: list[float]
    best: list[Reached]
    separate: list[Reached]
    one: list[Reached]
    along: list[Reached]


def checked(
    only: Sequence[str], divergence: str, gammas: Sequence[str], output: pathlib.Path | None
) -> list[float]:
    """The weights, as numbers; or an error, before anything is trained."""
    known = ", ".join(TASKS)
    if unknown := set(only) - set(TASKS):
        raise ValueError(f"no source {', '.join(sorted(unknown))}; there are {known}.")
    if not only:
        raise ValueError(f"no source to do; there are {known}.")
    if output and (output.suffix != ".webp" or not output.parent.is_dir()):
        raise ValueError(f"a figure is a .webp in a folder that there is; got {output}.")
    divergence_named(divergence)
    try:
        return checked_gammas([float(gamma) for gamma in gammas])
    except ValueError:
        said = ",".join(gammas)
        raise ValueError(f"gammas are two or more different numbers above 0; got {said}.") from None


def compared(
    task: Task,
    divergence: str,
    gammas: Sequence[float],
    steps: int,
    batch: int,
    samples: int,
    seed: int = 0,
) -> Comparison:
    """Trains and measures both kinds of decoders."""
    separate, one = (Decoders(task, divergence, gammas, kind, seed) for kind in (False, True))
    for decoders, kind in ((separate, "for each weight"), (one, "for all")):
        logging.info("%s: a decoder %s, %d steps", task.title, kind, steps)
        decoders.train(steps, batch)
    betas = np.linspace(0.0, 1.0, BETWEEN)
    return Comparison(
        task,
        divergence,
        separate.gammas,
        [task.known.best(gamma, divergence) for gamma in separate.gammas],
        [separate.reached(i, samples) for i in range(len(gammas))],
        [one.reached(beta_of(gamma, gammas), samples) for gamma in separate.gammas],
        [one.reached(float(beta), max(1, samples // 8)) for beta in betas],
    )


def table_of(found: Comparison) -> str:
    """In Markdown."""
    task, known = found.task, found.task.known
    rows = []
    for gamma, *points in zip(found.gammas, found.best, found.separate, found.one):
        cells = [f"{p.distortion:.3f}, {p.perception:.3f}" for p in points]
        least = [f"{round(p.distortion - known.bound(p.perception), 3) + 0.0:.3f}" for p in points]
        rows.append((f"{gamma:g}", f"{beta_of(gamma, found.gammas):.2f}", *cells, *least[1:]))
    header = (f"{task.name}: γ", "β", f"best D, {task.perception}", "a decoder for each")
    header += ("one for all", "D above the curve, each", "one for all")
    best, one = (_knee(found.gammas, points) for points in (found.best, found.one))
    if best == "none":  # A straight line, of which what was trained bends by chance.
        return table(header, rows)
    text = f"Knee over these γ: {best} of the best, {one} of one decoder for all."
    return f"{table(header, rows)}\n\n{text}"


def _knee(gammas: Sequence[float], points: Sequence[Reached]) -> str:
    try:
        return f"{gammas[knee(*zip(*points))]:g}"
    except ValueError:
        return "none"


def gates_of(found: Comparison) -> list[Gate]:
    """Nobody is below the curve, and all are where they should be, in percent of the curve's size.

    That is the distance of its ends: in distortion, and in perception.
    """
    known = found.task.known
    height, width = known.bound(0.0) - known.least, known.gap

    def above(points: Sequence[Reached]) -> list[float]:
        return [100.0 * (p.distortion - known.bound(p.perception)) / height for p in points]

    def apart(points: Sequence[Reached]) -> float:
        return 100.0 * max(
            max(abs(p.distortion - b.distortion) / height, abs(p.perception - b.perception) / width)
            for p, b in zip(points, found.best)
        )

    def end(places: Sequence[int]) -> float:
        """How far from the least distortion, and from perfect realism."""
        first, last = (found.separate[i] for i in places)
        return 100.0 * max((first.distortion - known.least) / height, last.perception / width)

    everyone = [*found.separate, *found.one, *found.along]

    def more(points: Sequence[Reached]) -> float:
        return max(a - b for a, b in zip(above(points), above(found.best)))

    return [
        Gate(f"{found.task.name}: {name}, %", value, low, high)
        for name, value, low, high in (
            ("lowest above the curve", min(above(everyone)), -BELOW, 100.0),
            ("each, further above it than the best", more(found.separate), -100.0, SEPARATE),
            ("one for all, further above it", more(found.one), -100.0, ONE),
            ("each, from the best for its γ", apart(found.separate), 0.0, SEPARATE),
            ("one for all, from the best for γ", apart(found.one), 0.0, ONE),
            ("ends of the curve, from the decoders for them", end((0, -1)), -BELOW, END),
        )
    ]


def draw(found: Sequence[Comparison], path: pathlib.Path) -> None:
    """Distortion over perception, a panel for each source."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(3.1 * len(found), 3.3), layout="constrained")
        panels = figure.subplots(1, len(found), squeeze=False)[0]
        for axes, comparison in zip(panels, found):
            _panel(axes, comparison)
        panels[0].set_ylabel("mean squared error")
        panels[0].legend(frameon=False, fontsize=8)
    save(figure, path, colors=24)


def _panel(axes: Axes, found: Comparison) -> None:
    known = found.task.known
    perceptions = np.linspace(0.0, 1.06 * known.gap, 100)
    bound = [known.bound(p) for p in perceptions]
    axes.plot(perceptions, bound, color=INK, linewidth=1.6, label="least there is")
    weights = np.geomspace(0.25 * min(found.gammas), 4.0 * max(found.gammas), 60)
    best = [known.best(gamma, found.divergence)[::-1] for gamma in weights]
    dash = {"color": "#777777", "linestyle": (0, (1, 1.2)), "linewidth": 1.8}
    axes.plot(*zip(*best), label="best for this divergence", **dash)
    along = [p[::-1] for p in found.along]
    axes.plot(
        *zip(*along), color=ORANGE, marker="s", markersize=3, linewidth=0.8, label="one, told β"
    )
    ring = {"marker": "o", "markersize": 8, "markerfacecolor": "none", "linestyle": "none"}
    each = [p[::-1] for p in found.separate]
    axes.plot(*zip(*each), color=BLUE, label="a decoder for each γ", zorder=4, **ring)
    axes.locator_params(nbins=6)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(found.task.title, loc="left", fontsize=10)
    axes.set_xlabel(f"perception: {found.task.perception}")
