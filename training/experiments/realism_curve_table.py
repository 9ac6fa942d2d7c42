"""Distortion–perception curves of decoders: tables, knees and a figure."""

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
from tfc_models.training.source_plots import BLUE, ORANGE, save_webp
from training.experiments.source_comparison import table

PERCEPTION = "perception"


class Point(NamedTuple):
    """Metrics of one decoder.

    Attributes:
        gamma: weight of the squared error in training; infinite for the base model's decoder.
        values: one per image, by name ("mse", "psnr", "perception" and further metrics).
    """

    gamma: float
    values: dict[str, np.ndarray]

    def mean(self, name: str) -> float:
        """Returns the mean of a metric over the images."""
        return float(np.mean(self.values[name]))


class Panel(NamedTuple):
    """Results at one rate.

    Attributes:
        quality: quality of the files; None for a single-rate model.
        bpp: bits per pixel of the files, the mean over images.
        size: total bytes of the files, which are the same for all decoders.
        points: one per decoder, largest γ first.
    """

    quality: int | None
    bpp: float
    size: int
    points: list[Point]

    @property
    def title(self) -> str:
        """Title for tables and plots."""
        rate = f"{self.bpp:.3f} bpp"
        return rate if self.quality is None else f"quality {self.quality}: {rate}"

    def axes(self, images: int | slice = slice(None)) -> tuple[list[float], list[float]]:
        """Returns the squared error and perception of all points, means over these images."""
        mse, perception = (
            [float(np.mean(point.values[name][images])) for point in self.points]
            for name in ("mse", PERCEPTION)
        )
        return mse, perception

    def knee(self, images: int | slice = slice(None)) -> int | None:
        """Returns the index of the point at the knee for these images; None without a knee."""
        try:
            return knee(*self.axes(images))
        except ValueError:
            return None

    def below(self) -> list[float]:
        """Returns the distance of each point below the chord; NaN for dominated points."""
        try:
            return below_chord(*self.axes()).tolist()
        except ValueError:
            return [math.nan] * len(self.points)


def format_gamma(gamma: float) -> str:
    """Returns the text of a γ."""
    return "∞" if math.isinf(gamma) else f"{gamma:g}"


def panel_table(panel: Panel, trained: str) -> str:
    """Returns a Markdown table of a panel, with the knee in bold, and a sentence about the knee.

    `trained` is the perceptual distance in the decoders' loss.
    """
    best, judges = panel.knee(), list(panel.points[0].values)[3:]
    rows = []
    for i, (point, below) in enumerate(zip(panel.points, panel.below())):
        name = format_gamma(point.gamma)
        name = f"**{name}, the knee**" if i == best else name
        cells = [f"{point.mean('psnr'):.2f} dB", f"{point.mean('mse'):.2f}"]
        cells += [f"{point.mean(n):.4f}" for n in (PERCEPTION, *judges)]
        rows.append((name, *cells, "dominated" if math.isnan(below) else f"{below:.2f}"))
    header = (f"{panel.title}; γ", "PSNR", "MSE", f"{trained.upper()}, trained for")
    header += (*(f"{name.upper()}, not" for name in judges), "below the chord")
    return f"{table(header, rows)}\n\n{_knee_summary(panel, best)}"


def _knee_summary(panel: Panel, best: int | None) -> str:
    """Returns sentences about the knee, the second-best point, and the knees of single images."""
    if best is None:
        try:
            knee(*panel.axes())
        except ValueError as error:
            return f"No knee: {error}"
    below = np.nan_to_num(panel.below(), nan=-np.inf)
    second = int(np.argsort(below)[-2])
    image_count = len(panel.points[0].values["mse"])
    image_knees = [panel.knee(slice(i, i + 1)) for i in range(image_count)]
    counts = collections.Counter(
        "none" if i is None else format_gamma(panel.points[i].gamma) for i in image_knees
    )
    names = ", ".join(f"{count} × {name}" for name, count in counts.most_common())
    return (
        f"Knee: γ = {format_gamma(panel.points[best].gamma)}, {below[best]:.2f} below the chord; "
        f"next {format_gamma(panel.points[second].gamma)}, {below[second]:.2f}. "
        f"Knees of the {image_count} single images: {names}."
    )


def write(panels: Sequence[Panel], path: pathlib.Path) -> None:
    """Writes a CSV file with a row for each decoder and rate: means over the images."""
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


def plot(
    panels: Sequence[Panel], trained: str, path: pathlib.Path, columns: int | None = None
) -> None:
    """Plots perception over distortion, with a panel for each rate.

    Args:
        panels: results at each rate.
        trained: the perceptual distance in the decoders' loss.
        path: WebP file to write.
        columns: largest number of panels side by side; None for all.
    """
    columns = min(columns or len(panels), len(panels))
    rows = -(-len(panels) // columns)
    with rc_context(SETTINGS):
        figure = Figure(figsize=(0.6 + 3.6 * columns, 3.5 * rows), layout="constrained")
        plots = figure.subplots(rows, columns, squeeze=False)
        for axes, panel in zip(plots.flat, panels):
            _panel(axes, panel)
        for axes in plots.flat[len(panels) :]:
            axes.set_axis_off()
        for axes in plots[:, 0]:
            axes.set_ylabel(f"perception: {trained.upper()}")
        plots.flat[0].legend(frameon=False, fontsize=8.5)
    save_webp(figure, path, colors=40)


def _panel(axes: Axes, panel: Panel) -> None:
    x, y = panel.axes()
    indexes = range(len(panel.points))
    first = [i for i in indexes if math.isinf(panel.points[i].gamma)]
    best = [i for i in indexes if i == panel.knee()]
    curve = [i for i, below in enumerate(panel.below()) if not math.isnan(below)]
    ends = [pick(curve, key=lambda i: x[i]) for pick in (min, max)] if best else []

    def plot_points(which: Sequence[int], label: str, **style: Any) -> None:
        axes.plot([x[i] for i in which], [y[i] for i in which], label=label, **style)

    square = {"color": INK, "marker": "s", "markersize": 7, "linestyle": "none", "zorder": 4}
    plot_points(first, "faithful, γ → ∞", **square)
    line = {"linewidth": 1.4, "marker": "o", "markersize": 5}
    plot_points(indexes, "a decoder for each γ", color=BLUE, **line)
    ring = {"marker": "o", "markersize": 13, "markerfacecolor": "none", "markeredgewidth": 1.8}
    plot_points(best, "knee", color=ORANGE, linestyle="none", zorder=5, **ring)
    dash = {"linestyle": (0, (1, 1.5)), "linewidth": 1.2}
    plot_points(ends, "chord", color="#777777", zorder=1, **dash)
    for i in indexes:
        if i in first:
            continue
        # Labels alternate between both sides of the curve, so that they do not overlap.
        gap = 9 if i in best else 6
        side = {"ha": "left", "va": "bottom"} if i % 2 else {"ha": "right", "va": "top"}
        offset = (gap, gap - 3) if i % 2 else (-gap, 3 - gap)
        if i == indexes[-1]:
            side, offset = {"ha": "left", "va": "center"}, (gap, 0)
        position = {"xy": (x[i], y[i]), "xytext": offset, "textcoords": "offset points"}
        axes.annotate(format_gamma(panel.points[i].gamma), fontsize=8.5, **position, **side)
    axes.margins(x=0.2, y=0.12)
    axes.locator_params(nbins=6)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(panel.title.capitalize(), loc="left", fontsize=10)
    axes.set_xlabel("mean squared error")
