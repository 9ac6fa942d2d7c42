"""What decoders of several γ reach at a rate: tables, knees, a figure."""

from __future__ import annotations

import collections
import csv
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfc_models.analysis import below_chord, knee
from tfc_models.analysis.plots import FAINT, INK, SETTINGS
from tfc_models.training.source_plots import BLUE, ORANGE, save
from training.experiments.source_comparison import table

PERCEPTION = "perception"


class Point(NamedTuple):
    """Of one decoder.

    Attributes:
        gamma: the weight of squared error that it was trained with; infinite: the base's own.
        values: by name ("mse", "psnr", "perception" and further metrics), for each picture.
    """

    gamma: float
    values: dict[str, np.ndarray]

    def mean(self, name: str) -> float:
        """Over the pictures."""
        return float(np.mean(self.values[name]))


class Panel(NamedTuple):
    """Of one rate.

    Attributes:
        quality: at which the files were made; None of a model of one rate.
        bpp: their bits for each pixel, the mean over pictures.
        size: their bytes, all together: the same for every decoder.
        points: from the largest γ.
    """

    quality: int | None
    bpp: float
    size: int
    points: list[Point]

    @property
    def title(self) -> str:
        """Of tables and plots."""
        rate = f"{self.bpp:.3f} bpp"
        return rate if self.quality is None else f"quality {self.quality}: {rate}"

    def axes(self, pictures: int | slice = slice(None)) -> tuple[list[float], list[float]]:
        """Squared error and perception of all points: means over these pictures."""
        return tuple(
            [float(np.mean(point.values[name][pictures])) for point in self.points]
            for name in ("mse", PERCEPTION)
        )

    def knee(self, pictures: int | slice = slice(None)) -> int | None:
        """The place of the knee among the points, as these pictures have it, if there is one."""
        try:
            return knee(*self.axes(pictures))
        except ValueError:
            return None

    def below(self) -> list[float]:
        """Of each point, how far below the chord; NaN for what others dominate."""
        try:
            return below_chord(*self.axes()).tolist()
        except ValueError:
            return [math.nan] * len(self.points)


def shown(gamma: float) -> str:
    """A γ, as people write it."""
    return "∞" if math.isinf(gamma) else f"{gamma:g}"


def table_of(panel: Panel, trained: str) -> str:
    """In Markdown, with the knee in bold and how sharp it is below.

    `trained` is what the decoders were trained for beside the squared error.
    """
    best, judges = panel.knee(), list(panel.points[0].values)[3:]
    rows = []
    for i, (point, below) in enumerate(zip(panel.points, panel.below())):
        name = f"**{shown(point.gamma)}, the knee**" if i == best else shown(point.gamma)
        cells = [f"{point.mean('psnr'):.2f} dB", f"{point.mean('mse'):.2f}"]
        cells += [f"{point.mean(n):.4f}" for n in (PERCEPTION, *judges)]
        rows.append((name, *cells, "dominated" if math.isnan(below) else f"{below:.2f}"))
    header = (f"{panel.title}; γ", "PSNR", "MSE", f"{trained.upper()}, trained for")
    header += (*(f"{name.upper()}, not" for name in judges), "below the chord")
    return f"{table(header, rows)}\n\n{_said(panel, best)}"


def _said(panel: Panel, best: int | None) -> str:
    """The knee in a sentence: beside the next best, and on pictures by themselves."""
    if best is None:
        try:
            knee(*panel.axes())
        except ValueError as error:
            return f"No knee: {error}"
    below = np.nan_to_num(panel.below(), nan=-np.inf)
    second = int(np.argsort(below)[-2])
    pictures = len(panel.points[0].values["mse"])
    alone = [panel.knee(slice(i, i + 1)) for i in range(pictures)]
    counts = collections.Counter(
        "none" if i is None else shown(panel.points[i].gamma) for i in alone
    )
    names = ", ".join(f"{count} × {name}" for name, count in counts.most_common())
    return (
        f"Knee: γ = {shown(panel.points[best].gamma)}, {below[best]:.2f} below the chord; next "
        f"{shown(panel.points[second].gamma)}, {below[second]:.2f}. "
        f"Of each of the {pictures} pictures alone: {names}."
    )


def write(panels: Sequence[Panel], path: pathlib.Path) -> None:
    """A row for each decoder and rate, as CSV: means over the pictures."""
    names = list(panels[0].points[0].values)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["quality", "gamma", "bytes", "bpp", *names, "below_chord", "knee"])
        for panel in panels:
            best, quality = panel.knee(), "" if panel.quality is None else panel.quality
            for i, (point, below) in enumerate(zip(panel.points, panel.below())):
                means = [f"{point.mean(name):.6g}" for name in names]
                known = ["" if math.isnan(below) else f"{below:.4f}", int(i == best)]
                rate = [panel.size, f"{panel.bpp:.4f}"]
                rows.writerow([quality, point.gamma, *rate, *means, *known])


def draw(panels: Sequence[Panel], trained: str, path: pathlib.Path) -> None:
    """Perception over distortion, a panel for each rate."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(0.6 + 3.6 * len(panels), 3.5), layout="constrained")
        plots = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(plots, panels):
            _panel(axes, panel)
        plots[0].set_ylabel(f"perception: {trained.upper()}")
        plots[0].legend(frameon=False, fontsize=8.5)
    save(figure, path, colors=40)


def _panel(axes: Axes, panel: Panel) -> None:
    x, y = panel.axes()
    places = range(len(panel.points))
    first = [i for i in places if math.isinf(panel.points[i].gamma)]
    best = [i for i in places if i == panel.knee()]
    curve = [i for i, below in enumerate(panel.below()) if not math.isnan(below)]
    ends = [pick(curve, key=lambda i: x[i]) for pick in (min, max)] if best else []

    def put(which: Sequence[int], label: str, **style: Any) -> None:
        axes.plot([x[i] for i in which], [y[i] for i in which], label=label, **style)

    square = {"color": INK, "marker": "s", "markersize": 7, "linestyle": "none", "zorder": 4}
    put(first, "faithful, γ → ∞", **square)
    put(places, "a decoder for each γ", color=BLUE, linewidth=1.4, marker="o", markersize=5)
    ring = {"marker": "o", "markersize": 13, "markerfacecolor": "none", "markeredgewidth": 1.8}
    put(best, "knee", color=ORANGE, linestyle="none", zorder=5, **ring)
    put(ends, "chord", color="#777777", linestyle=(0, (1, 1.5)), linewidth=1.2, zorder=1)
    for i in places:
        if i in first:
            continue
        # On both sides of the curve in turn, where it leaves room.
        far = 9 if i in best else 6
        side = {"ha": "left", "va": "bottom"} if i % 2 else {"ha": "right", "va": "top"}
        apart = (far, far - 3) if i % 2 else (-far, 3 - far)
        if i == places[-1]:
            side, apart = {"ha": "left", "va": "center"}, (far, 0)
        where = {"xy": (x[i], y[i]), "xytext": apart, "textcoords": "offset points"}
        axes.annotate(shown(panel.points[i].gamma), fontsize=8.5, **where, **side)
    axes.margins(x=0.2, y=0.12)
    axes.locator_params(nbins=6)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(panel.title.capitalize(), loc="left", fontsize=10)
    axes.set_xlabel("mean squared error")
