"""Plots of codes for small sources, labeled and legible in grayscale."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tfc_models.analysis import save_plot
from tfc_models.analysis.plots import FAINT, INK, SETTINGS
from tfc_models.sources import Compressor, TransformCode

GRID = 500  # points per side at which cells are evaluated
SHOWN = 40_000  # samples whose code vectors are plotted
# Traversals: lines per latent, points per line in the plane, codes, and distance between rows.
LINES, STEPS, CODES, ROW_DISTANCE = 7, 61, 12, 1.5
BLUE, ORANGE, GREEN, VIOLET = "#0072b2", "#d55e00", "#009e73", "#5b3fa0"
# Every series has its own marker and dash, as colors are indistinguishable in grayscale.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "marker": "o", "linestyle": "-", "markersize": 10, "markerfacecolor": "none"},
    {"color": ORANGE, "marker": "s", "linestyle": "--"},
    {"color": GREEN, "marker": "^", "linestyle": "-."},
    {"color": VIOLET, "marker": "D", "linestyle": ":"},
    {"color": INK, "marker": "v", "linestyle": (0, (6, 2, 1, 2))},
)
CURVE_STYLES: tuple[dict[str, Any], ...] = (
    {"color": INK, "linestyle": "-", "linewidth": 1.8},
    {"color": "#777777", "linestyle": (0, (1, 1.2)), "linewidth": 1.8},
)
Series = Mapping[str, Sequence[tuple[float, float]]]


def _save_axes(
    path: pathlib.Path, draw: Callable[[Axes], None], size: tuple[float, float] = (6.4, 4.8)
) -> None:
    """Writes a figure whose axes `draw` fills."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=size)
        axes = figure.add_subplot()
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
    save_webp(figure, path)


def save_webp(figure: Figure, path: pathlib.Path, colors: int = 64) -> None:
    """Writes a figure as a small lossless WebP file with few colors."""
    image = Image.open(io.BytesIO(save_plot(figure, "png"))).convert("RGB")
    image.quantize(colors).convert("RGB").save(path, lossless=True, method=6)


def plot_code(code: Compressor, samples: np.ndarray, folder: pathlib.Path) -> None:
    """Writes the plots that apply to a code: quantization cells, and traversals of latents."""
    # With universal quantization, the cells differ between samples.
    if samples.shape[1] == 2 and getattr(code, "quantization", "") != "universal":
        plot_cells(code, samples, folder / "cells.webp")
    if isinstance(code, TransformCode) and samples.shape[1] > 1:
        plot_traversals(code, samples, folder / "traversal.webp")


def plot_cells(code: Compressor, samples: np.ndarray, path: pathlib.Path) -> None:
    """Plots a quantizer's cells and code vectors over the density of a source in the plane."""
    low, high = np.quantile(samples, 0.001, axis=0), np.quantile(samples, 0.999, axis=0)
    margin = 0.05 * (high - low)
    low, high = low - margin, high + margin
    x, y = (np.linspace(a, b, GRID, dtype=np.float32) for a, b in zip(low, high))
    grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    symbols = code.symbols(tf.constant(grid)).numpy()
    cell = np.unique(symbols, axis=0, return_inverse=True)[1].reshape(GRID, GRID)
    edges = np.zeros([GRID, GRID], bool)
    edges[1:] |= cell[1:] != cell[:-1]
    edges[:, 1:] |= cell[:, 1:] != cell[:, :-1]
    coded = code.coded(tf.constant(samples[:SHOWN]))
    vectors, counts = np.unique(coded.reconstruction.numpy().round(4), axis=0, return_counts=True)

    def draw(axes: Axes) -> None:
        limits = [(low[0], high[0]), (low[1], high[1])]
        density, *_ = np.histogram2d(samples[:, 0], samples[:, 1], bins=160, range=limits)
        extent = (low[0], high[0], low[1], high[1])
        options: dict[str, Any] = {"extent": extent, "origin": "lower", "aspect": "equal"}
        axes.imshow(np.sqrt(density).T, cmap="Greys", vmax=2.2 * density.max() ** 0.5, **options)
        lines = np.ma.masked_where(~edges, np.ones_like(edges, float))
        axes.imshow(lines, cmap="Greys", vmin=0.0, vmax=1.25, **options)
        area = np.clip(3000.0 * counts / counts.sum(), 4.0, 120.0)
        style: dict[str, Any] = {"color": ORANGE, "edgecolor": "white", "linewidth": 0.8}
        axes.scatter(vectors[:, 0], vectors[:, 1], s=area, zorder=3, **style)
        title = f"{len(vectors)} code vectors in use at λ = {code.lmbda:g}"
        axes.set(xlabel="x₁", ylabel="x₂", title=title)
        axes.set(xlim=limits[0], ylim=limits[1])

    _save_axes(path, draw)


def plot_traversals(code: TransformCode, samples: np.ndarray, path: pathlib.Path) -> None:
    """Plots reconstructions while one latent varies and the others are fixed."""
    place = code._one_place(None)
    latents = code._latents(tf.constant(samples[:SHOWN]), place).numpy()
    spread = latents.std(axis=0)
    used = np.ptp(latents.round(), axis=0) > 0
    order = [i for i in np.argsort(-spread) if used[i]][:4] or [int(np.argmax(spread))]
    middle = np.median(latents, axis=0)

    def traverse(i: int, steps: int, base: np.ndarray) -> np.ndarray:
        """Returns reconstructions while latent `i` varies, the others being those of `base`."""
        low, high = np.quantile(latents[:, i], [0.005, 0.995])
        points = np.tile(base, (steps, 1))
        points[:, i] = np.linspace(low, high, steps)
        return code._synthesized(tf.constant(points, tf.float32), place).numpy()

    def draw_functions(axes: Axes) -> None:
        t = np.linspace(0.0, 1.0, samples.shape[1])
        note: dict[str, Any] = {"ha": "left", "va": "center", "fontsize": 9}
        outputs = code._synthesized(tf.constant(latents.round()), place).numpy().round(4)
        codes, counts = np.unique(outputs, axis=0, return_counts=True)
        frequent = np.argsort(-counts)[:CODES]
        for i, line in enumerate(codes[frequent]):
            shade = str(0.75 * (1.0 - i / max(len(frequent) - 1, 1)))
            axes.plot(t, line, color=shade, linewidth=1.2)
        axes.text(1.02, 0.0, f"{len(frequent)} codes of\n{len(codes)} in use", **note)
        for row, i in enumerate(order, 1):
            for step, line in enumerate(traverse(i, LINES, middle)):
                shade = str(0.75 * (1.0 - step / (LINES - 1)))
                axes.plot(t, line - row * ROW_DISTANCE, color=shade, linewidth=1.2)
            axes.text(1.02, -row * ROW_DISTANCE, f"only latent {i + 1}\nvaries", **note)
        axes.set(xlabel="t", ylabel="x̂(t), a line each 0.5")
        axes.set_yticks(np.arange(-len(order) * ROW_DISTANCE - 0.5, 1.0, 0.5), labels=[])
        axes.grid(axis="y", color=FAINT, linewidth=0.7)
        title = f"Codes in use, and latents from low (pale) to high (dark), λ = {code.lmbda:g}"
        axes.set_title(title, loc="left")

    def draw_plane(axes: Axes) -> None:
        axes.scatter(samples[:8000, 0], samples[:8000, 1], s=1, color="#cccccc")
        low, high = np.quantile(latents, [0.005, 0.995], axis=0)
        for style, i in zip(STYLES, order[:2]):
            other = 1 - i if latents.shape[1] == 2 else order[1 - list(order).index(i)]
            for value in np.arange(np.rint(low[other]), np.rint(high[other]) + 1.0):
                base = middle.copy()
                base[other] = value
                line = traverse(i, STEPS, base)
                axes.plot(*line.T, color=style["color"], linestyle=style["linestyle"], linewidth=1)
            dash = {name: style[name] for name in ("color", "linestyle")}
            axes.plot([], [], label=f"latent {i + 1} varies", **dash)
        title = f"Integer latents, λ = {code.lmbda:g}"
        axes.set(xlabel="x₁", ylabel="x₂", aspect="equal", title=title)
        axes.legend(frameon=False)

    if samples.shape[1] == 2:
        _save_axes(path, draw_plane)
    else:
        _save_axes(path, draw_functions, (6.4, 2.2 + 1.0 * len(order)))


def plot_lines(
    series: Series,
    path: pathlib.Path,
    labels: tuple[str, str],
    title: str,
    smooth: Series | None = None,
    logarithmic: str = "",
    joined: bool = True,
) -> None:
    """Plots measured points, and theoretical curves.

    Args:
        series: measured points by name.
        path: of the WebP file.
        labels: of the axes.
        title: title of the plot.
        smooth: theoretical curves by name.
        logarithmic: logarithmic axes: "x", "y" or "xy".
        joined: whether to join measured points by lines.
    """

    def draw(axes: Axes) -> None:
        for (name, points), style in zip((smooth or {}).items(), CURVE_STYLES):
            axes.plot(*zip(*points), label=name, zorder=2, **style)
        for (name, points), style in zip(series.items(), STYLES):
            style = style if joined else {**style, "linestyle": "none"}
            axes.plot(
                *zip(*points), label=name, linewidth=1.4, zorder=3, **{"markersize": 6, **style}
            )
        if "x" in logarithmic:
            axes.set_xscale("log")
        if "y" in logarithmic:
            axes.set_yscale("log")
        for axis in [getattr(axes, f"{letter}axis") for letter in logarithmic]:
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(
                lambda value, _: f"{value:g}" if f"{value:g}"[-1] in "25" else ""
            )
        axes.grid(color=FAINT, linewidth=0.7)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.set_title(title, loc="left")
        axes.legend(frameon=False)

    _save_axes(path, draw)
