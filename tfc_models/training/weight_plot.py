"""Figure of file sizes against errors."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tfc_models.analysis.plots import INK, SETTINGS
from tfc_models.training.source_plots import STYLES, save_webp
from tfc_models.training.weight_curve import ORIGINAL, Point


def plot_sizes(
    points: Sequence[Point], path: pathlib.Path, title: str, published: tuple[float, float] | None
) -> None:
    """Writes a figure with one curve per method.

    Args:
        points: of `weight_curve.measure`.
        path: of the WebP file.
        title: network and data.
        published: bytes and error of the paper, or None.
    """
    with rc_context(SETTINGS):
        figure = Figure(figsize=(6.8, 4.4))
        axes = figure.add_subplot()
        (original,) = (point for point in points if point.method == ORIGINAL)
        axes.axhline(original.test_error, color=INK, linewidth=0.8, linestyle=(0, (1, 1.5)))
        axes.annotate(
            "without compression",
            (1.0, original.test_error),
            xycoords=("axes fraction", "data"),
            xytext=(-4, -11),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )
        methods = dict.fromkeys(p.method for p in points if p.method != ORIGINAL)
        for method, style in zip(methods, STYLES):
            curve = sorted((p.bytes / 1000.0, p.test_error) for p in points if p.method == method)
            axes.plot(*zip(*curve), label=method, **{"markersize": 6, **style})
        if published:
            axes.plot(published[0] / 1000.0, published[1], "*", color=INK, markersize=11)
            axes.annotate(
                "Oktay et al. (2020), whole MNIST",
                (published[0] / 1000.0, published[1]),
                xytext=(8, -3),
                textcoords="offset points",
                fontsize=8,
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("size of the file, kB (1 kB = 1000 bytes)")
        axes.set_ylabel("error, % of test images")
        axes.set_title(title, fontsize=10)
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    save_webp(figure, path)
