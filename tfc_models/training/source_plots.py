"""Plots of codes for small sources, to be shown: labelled, and legible in grey."""

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

GRID = 500  # points a side, at which it is looked which cell they lie in
SHOWN = 40_000  # samples whose code vectors are drawn
LINES, STEPS, CODES, APART = 7, 61, 12, 1.5
BLUE, ORANGE, GREEN, VIOLET = "#0072b2", "#d55e00", "#009e73", "#5b3fa0"
# Each series has a marker and a dash of its own: colours are lost in grey.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "marker": "o", "linestyle": "-", "markersize": 10, "markerfacecolor": "none"},
    {"color": ORANGE, "marker": "s", "linestyle": "--"},
    {"color": GREEN, "marker": "^", "linestyle": "-."},
    {"color": VIOLET, "marker": "D", "linestyle": ":"},
    {"color": INK, "marker": "v", "linestyle": (0, (6, 2, 1, 2))},
)
KNOWN: tuple[dict[str, Any], ...] = (
    {"color": INK, "linestyle": "-", "linewidth": 1.8},
    {"color": "#777777", "linestyle": (0, (1, 1.2)), "linewidth": 1.8},
)
Series = Mapping[str, Sequence[tuple[float, float]]]


def _drawn(
    path: pathlib.Path, draw: Callable[[Axes], None], size: tuple[float, float] = (6.4, 4.8)
) -> None:
    with rc_context(SETTINGS):
        figure = Figure(figsize=size)
        axes = figure.add_subplot()
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def save(figure: Figure, path: pathlib.Path, colors: int = 64) -> None:
    """As a small WebP, without losses but those of colours."""
    picture = Image.open(io.BytesIO(save_plot(figure, "png"))).convert("RGB")
    picture.quantize(colors).convert("RGB").save(path, lossless=True, method=6)


def draw(code: Compressor, samples: np.ndarray, folder: pathlib.Path) -> None:
    """Cells of a source in the plane, and what latents stand for, as far as there are such."""
    # With dither every sample has cells of its own.
    if samples.shape[1] == 2 and getattr(code, "quantization", "") != "universal":
        cells(code, samples, folder / "cells.webp")
    if isinstance(code, TransformCode) and samples.shape[1] > 1:
        traversals(code, samples, folder / "traversal.webp")


def cells(code: Compressor, samples: np.ndarray, path: pathlib.Path) -> None:
    """Edges of the quantizer's cells and its code vectors, over the source's density."""
    low, high = np.quantile(samples, 0.001, axis=0), np.quantile(samples, 0.999, axis=0)
    room = 0.05 * (high - low)
    low, high = low - room, high + room
    x, y = (np.linspace(a, b, GRID, dtype=np.float32) for a, b in zip(low, high))
    grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    symbols = code.symbols(tf.constant(grid)).numpy()
    cell = np.unique(symbols, axis=0, return_inverse=True)[1].reshape(GRID, GRID)
    edges = np.zeros([GRID, GRID], bool)
    edges[1:] |= cell[1:] != cell[:-1]
    edges[:, 1:] |= cell[:, 1:] != cell[:, :-1]
    seen = code.coded(tf.constant(samples[:SHOWN]))
    vectors, counts = np.unique(seen.reconstruction.numpy().round(4), axis=0, return_counts=True)

    def show(axes: Axes) -> None:
        density, *_ = np.histogram2d(*samples.T, bins=160, range=np.stack([low, high], 1))
        extent = (low[0], high[0], low[1], high[1])
        options = {"extent": extent, "origin": "lower", "aspect": "equal"}
        axes.imshow(np.sqrt(density).T, cmap="Greys", vmax=2.2 * density.max() ** 0.5, **options)
        lines = np.ma.masked_where(~edges, np.ones_like(edges, float))
        axes.imshow(lines, cmap="Greys", vmin=0.0, vmax=1.25, **options)
        area = np.clip(3000.0 * counts / counts.sum(), 4.0, 120.0)
        axes.scatter(*vectors.T, s=area, color=ORANGE, edgecolor="white", linewidth=0.8, zorder=3)
        title = f"{len(vectors)} code vectors in use at λ = {code.lmbda:g}"
        axes.set(xlabel="x₁", ylabel="x₂", title=title)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))

    _drawn(path, show)


def traversals(code: TransformCode, samples: np.ndarray, path: pathlib.Path) -> None:
    """What the synthesis makes of one latent that goes through its values, others held."""
    place = code._one_place(None)
    latents = code._latents(tf.constant(samples[:SHOWN]), place).numpy()
    spread = latents.std(axis=0)
    used = np.ptp(latents.round(), axis=0) > 0
    order = [i for i in np.argsort(-spread) if used[i]][:4] or [int(np.argmax(spread))]
    middle = np.median(latents, axis=0)

    def along(i: int, steps: int, base: np.ndarray) -> np.ndarray:
        low, high = np.quantile(latents[:, i], [0.005, 0.995])
        points = np.tile(base, (steps, 1))
        points[:, i] = np.linspace(low, high, steps)
        return code._synthesized(tf.constant(points, tf.float32), place).numpy()

    def of_functions(axes: Axes) -> None:
        t = np.linspace(0.0, 1.0, samples.shape[1])
        note = {"ha": "left", "va": "center", "fontsize": 9}
        made = code._synthesized(tf.constant(latents.round()), place).numpy().round(4)
        codes, counts = np.unique(made, axis=0, return_counts=True)
        most = np.argsort(-counts)[:CODES]
        for i, line in enumerate(codes[most]):
            axes.plot(t, line, color=str(0.75 * (1.0 - i / max(len(most) - 1, 1))), linewidth=1.2)
        axes.text(1.02, 0.0, f"{len(most)} codes of\n{len(codes)} in use", **note)
        for row, i in enumerate(order, 1):
            for step, line in enumerate(along(i, LINES, middle)):
                shade = str(0.75 * (1.0 - step / (LINES - 1)))
                axes.plot(t, line - row * APART, color=shade, linewidth=1.2)
            axes.text(1.02, -row * APART, f"latent {i + 1}\nalone moves", **note)
        axes.set(xlabel="t", ylabel="x̂(t), a line each 0.5")
        axes.set_yticks(np.arange(-len(order) * APART - 0.5, 1.0, 0.5), labels=[])
        axes.grid(axis="y", color=FAINT, linewidth=0.7)
        title = f"Codes in use, and latents from low (pale) to high (dark), λ = {code.lmbda:g}"
        axes.set_title(title, loc="left")

    def of_plane(axes: Axes) -> None:
        axes.scatter(*samples[:8000].T, s=1, color="#cccccc")
        low, high = np.quantile(latents, [0.005, 0.995], axis=0)
        for style, i in zip(STYLES, order[:2]):
            other = 1 - i if latents.shape[1] == 2 else order[1 - list(order).index(i)]
            for value in np.arange(np.rint(low[other]), np.rint(high[other]) + 1.0):
                base = middle.copy()
                base[other] = value
                line = along(i, STEPS, base)
                axes.plot(*line.T, color=style["color"], linestyle=style["linestyle"], linewidth=1)
            dash = {name: style[name] for name in ("color", "linestyle")}
            axes.plot([], [], label=f"latent {i + 1} moves", **dash)
        title = f"Where latents are whole numbers, λ = {code.lmbda:g}"
        axes.set(xlabel="x₁", ylabel="x₂", aspect="equal", title=title)
        axes.legend(frameon=False)

    if samples.shape[1] == 2:
        _drawn(path, of_plane)
    else:
        _drawn(path, of_functions, (6.4, 2.2 + 1.0 * len(order)))


def lines(
    series: Series,
    path: pathlib.Path,
    labels: tuple[str, str],
    title: str,
    smooth: Series | None = None,
    logarithmic: str = "",
    joined: bool = True,
) -> None:
    """Measured points, joined by lines or not, and beside them curves that are known.

    Args:
        series: by name, pairs of what is on the two axes.
        path: the WebP.
        labels: of the axes.
        title: above it.
        smooth: further ones, without points.
        logarithmic: "x", "y" or "xy".
        joined: whether there are codes between those that were measured.
    """

    def show(axes: Axes) -> None:
        for (name, points), style in zip((smooth or {}).items(), KNOWN):
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

    _drawn(path, show)
