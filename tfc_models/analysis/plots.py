"""Rate-distortion plots with the name of each curve at its end."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfc_models.analysis.curves import Curve, Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colors, which color-blind readers can distinguish. Standard codecs have the same
# color in every plot; models get colors in order.
COLORS = {
    "JPEG": "#d55e00",
    "WebP": "#e69f00",
    "AVIF": "#009e73",
    "AVIF 4:4:4": "#7f7f00",
    "JPEG 2000": "#cc79a7",
    "JPEG XL": "#b2182b",
    "HEIC": "#a0522d",
    "HEIC 4:4:4": "#008b8b",
}
PALETTES = {
    "model": ("#0072b2", "#56b4e9", "#5b3fa0", "#111111", "#8c564b"),
    "codec": ("#4d4d4d", "#b8860b", "#6b8e23"),
    "published": ("#707070", "#959595"),
}
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
INK, FAINT = "#222222", "#dddddd"
# Sizes in inches, points and fractions of the height.
SIZE, FONT, LABEL_GAP = (6.4, 4.8), 10, 0.052
SETTINGS = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "font.family": "DejaVu Sans",  # Comes with matplotlib, so that plots are the same everywhere.
    "font.size": FONT,
    "svg.hashsalt": "tfc-models",  # Equal plots give equal files.
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def rd_plot(curves: Sequence[Curve], metric: Metric, title: str = "") -> Figure:
    """Returns a plot of quality over rate; BD-rates average the horizontal distance of two curves.

    Better is always further up: the axis of a distance is inverted.

    The axes have the ranges of the measured curves, if there are any: published ones often extend
    to rates that are not of interest. Curves without this metric are omitted.

    Raises:
        ValueError: no curve has a point with this metric.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn = {curve.name: np.array(curve.of(metric)) for curve in curves if curve.of(metric)}
    if not drawn:
        raise ValueError(f"no curve has a point with {metric.title}.")
    measured = [drawn[c.name] for c in curves if c.name in drawn and c.kind != "published"]
    # Not pyplot, which keeps every figure and selects a window system.
    with rc_context(SETTINGS):
        figure = Figure(figsize=SIZE, layout=None)
        axes = figure.add_axes((0.1, 0.12, 0.88, 0.78 if title else 0.85))
        _frame(axes, measured or list(drawn.values()), list(drawn.values()))
        if not metric.higher_is_better:
            _name_distances(axes)
        # Styles of all curves, so that curves without this metric do not change the others.
        styles = _styles(curves)
        for name, points in drawn.items():
            axes.plot(*points.T, label=name, **styles[name])
        _name_curves(axes, drawn, styles)
        axes.set_xlabel("bits per pixel")
        axes.set_ylabel(metric.title + " (lower is better)" * (not metric.higher_is_better))
        if title:
            axes.set_title(title, loc="left", fontsize=FONT + 2, pad=12)
    return figure


def save_plot(figure: Figure, kind: str) -> bytes:
    """Returns the figure as a file, "png" or "svg"; equal figures give equal bytes."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with rc_context(SETTINGS):
        figure.savefig(
            buffer, format=kind, dpi=160, bbox_inches="tight", pad_inches=0.15, metadata=metadata
        )
    return buffer.getvalue()


def _frame(axes: Axes, measured: list[np.ndarray], drawn: list[np.ndarray]) -> None:
    """Sets limits, ticks and grid. Rates are logarithmic, as in a BD-rate."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

    rates = np.concatenate(measured)[:, 0]
    # A margin at both ends, and a factor of at least four, for single points.
    room = max(1.12, 2 / float(np.sqrt(rates.max() / rates.min())))
    low, high = rates.min() / room, rates.max() * room
    points = np.concatenate(drawn)
    visible = points[(points[:, 0] >= low) & (points[:, 0] <= high), 1]
    # A single point gets a range of a tenth of its value.
    margin = 0.04 * np.ptp(visible) or 0.05 * abs(visible[0]) or 0.5
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(visible.min() - margin, visible.max() + margin)
    axes.set_xticks(_ticks(low, high))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=9, steps=[1, 2, 5, 10]))
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _name_distances(axes: Axes) -> None:
    """Sets the ticks of a distance, whose negative is drawn."""
    from matplotlib.ticker import FuncFormatter

    # The sum turns −0 into 0.
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{0.0 - value:.4g}"))


def _ticks(low: float, high: float) -> list[float]:
    """Returns round rates: 1, 2, 5 of each decade, and more of them for short ranges."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        rates = [digit * 10.0**decade for decade in decades for digit in digits]
        ticks = [rate for rate in rates if low <= rate <= high]
        if len(ticks) >= 4:
            return ticks
    return ticks or [float(np.sqrt(low * high))]


def _styles(curves: Sequence[Curve]) -> dict[str, dict[str, Any]]:
    styles: dict[str, dict[str, Any]] = {}
    counts = dict.fromkeys(PALETTES, 0)
    for curve in curves:
        is_model, published = curve.kind == "model", curve.kind == "published"
        palette, count = PALETTES[curve.kind], counts[curve.kind]
        style: dict[str, Any] = {"color": COLORS.get(curve.name) or palette[count % len(palette)]}
        counts[curve.kind] += curve.name not in COLORS
        if published:
            dashes = DASHES[count // len(palette) % len(DASHES)]
            style.update(linewidth=1.1, linestyle=dashes, zorder=2)
        else:
            style.update(linewidth=2.4 if is_model else 1.6, zorder=4 if is_model else 3)
            style.update(marker="o", markersize=5.5 if is_model else 3.5)
        styles[curve.name] = style
    return styles


def _name_curves(
    axes: Axes, drawn: dict[str, np.ndarray], styles: dict[str, dict[str, Any]]
) -> None:
    """Writes names to the right of the axes without overlap, with a line to each curve."""
    ends = {name: end for name, points in drawn.items() if (end := _end(axes, points)) is not None}
    order = sorted(ends, key=lambda name: (ends[name][1], ends[name][0]))
    heights = _spread([ends[name][1] for name in order])
    for name, height in zip(order, heights):
        color, weight = styles[name]["color"], "bold" if styles[name]["zorder"] == 4 else "normal"
        axes.annotate(
            name,
            xy=ends[name],
            xytext=(1.035, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=color,
            weight=weight,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.6,
                "alpha": 0.6,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def _end(axes: Axes, points: np.ndarray) -> tuple[float, float] | None:
    """Returns where a curve ends or leaves the axes on the right, in fractions of the axes."""
    low, high = np.log(axes.get_xlim())
    rates, qualities = np.log(points[:, 0]), points[:, 1]
    if rates[0] > high or rates[-1] < low:
        return None
    last = min(rates[-1], high)
    quality = float(np.interp(last, rates, qualities))
    bottom, top = axes.get_ylim()
    return float((last - low) / (high - low)), (quality - bottom) / (top - bottom)


def _spread(heights: Sequence[float]) -> list[float]:
    """Returns ascending heights, moved apart to at least LABEL_GAP."""
    # Clusters of names that would overlap, each centered at the mean of its members.
    clusters: list[list[float]] = []
    for height in heights:
        clusters.append([height])
        while (
            len(clusters) > 1 and _places(clusters[-1])[0] < _places(clusters[-2])[-1] + LABEL_GAP
        ):
            clusters[-2:] = [clusters[-2] + clusters[-1]]
    return [place for cluster in clusters for place in _places(cluster)]


def _places(cluster: list[float]) -> np.ndarray:
    """Returns the heights of a cluster's names within the height of the axes."""
    half = LABEL_GAP * (len(cluster) - 1) / 2
    middle = max(min(float(np.mean(cluster)), 1.0 - half), half)
    return middle + np.linspace(-half, half, len(cluster))
