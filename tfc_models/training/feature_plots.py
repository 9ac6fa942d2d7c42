"""Tables and plots of accuracy over the size of features."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfc_models.analysis.plots import FAINT, INK, SETTINGS
from tfc_models.training import run_identity
from tfc_models.training.feature_ladder import RESULTS, UNCOMPRESSED, Row, read
from tfc_models.training.source_plots import BLUE, GREEN, ORANGE, VIOLET, save_webp

PRIORS = {
    "factorized": ("compressible features", BLUE, "o"),
    "conditional": ("compressible features, conditional prior", VIOLET, "D"),
}
PANELS = {"mnist": ("MNIST", "accuracy"), "retrieval": ("Crops of photos", "recall@1")}
PCA, QUANTIZERS = "PCA", "product quantization"


class Panel(NamedTuple):
    """Title, name of the accuracy, and results."""

    title: str
    measure: str
    rows: Sequence[Row]


class Mean(NamedTuple):
    """Mean result of a method over seeds.

    Attributes:
        method: see `Row`.
        setting: see `Row`.
        seeds: number of seeds.
        bits: per example, of the data.
        side_bytes: bytes that the decoder needs besides the data.
        accuracy: on the test set.
        spread: standard error of the accuracy over the seeds.
        gain: mean difference to the uncompressed features of the same seed.
        error: standard error of `gain`.
        validation: accuracy on the validation set.
    """

    method: str
    setting: float
    seeds: int
    bits: float
    side_bytes: float
    accuracy: float
    spread: float
    gain: float
    error: float
    validation: float


def means(rows: Sequence[Row]) -> list[Mean]:
    """Returns the means over the seeds that have uncompressed features, by method and setting."""
    plain = {row.seed: row.accuracy for row in rows if row.method == UNCOMPRESSED}
    groups: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        if row.seed in plain:
            groups.setdefault((row.method, row.setting), []).append(row)
    result = []
    for (method, setting), group in groups.items():
        accuracies = np.array([row.accuracy for row in group])
        gains = accuracies - [plain[row.seed] for row in group]
        several = len(group) > 1
        result.append(
            Mean(
                *(method, setting, len(group), float(np.mean([row.bits for row in group]))),
                *(float(np.mean([row.side_bytes for row in group])), float(accuracies.mean())),
                accuracies.std(ddof=1) / np.sqrt(len(group)) if several else 0.0,
                float(gains.mean()),
                gains.std(ddof=1) / np.sqrt(len(group)) if several else 0.0,
                float(np.mean([row.validation for row in group])),
            )
        )
    return result


def front(points: Sequence[Mean]) -> list[Mean]:
    """Returns the points that no other one exceeds in accuracy with fewer bits."""
    best: list[Mean] = []
    for point in sorted(points, key=lambda point: (point.bits, -point.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def table(rows: Sequence[Row]) -> str:
    """Returns a table in Markdown. Of PCA, it has the settings that no other setting exceeds."""
    found = means(rows)
    pca = front([mean for mean in found if mean.method.startswith(PCA)])
    others = [mean for mean in found if not mean.method.startswith(PCA)]
    lines = ["| method | setting | seeds | bits | side bytes | accuracy | difference |"]
    lines.append("|---|---|---|---|---|---|---|")
    for mean in sorted([*others, *pca], key=lambda mean: (mean.method, -mean.bits)):
        cells = [
            mean.method,
            f"{mean.setting:g}",
            str(mean.seeds),
            f"{mean.bits:.1f}",
            f"{mean.side_bytes:.0f}",
            f"{100 * mean.accuracy:.2f} ± {100 * mean.spread:.2f}",
            f"{100 * mean.gain:+.2f} ± {100 * mean.error:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def panel(workdir: pathlib.Path) -> Panel:
    """Returns the panel of a run in a work folder.

    Raises:
        ValueError: the folder has no results.
    """
    rows = read(workdir / RESULTS)
    if not any(row.method == UNCOMPRESSED for row in rows):
        raise ValueError(f"{workdir} has no results of a complete seed: run training.features.")
    identity = json.loads((workdir / run_identity.FILE).read_text(encoding="utf-8"))
    return Panel(*PANELS[identity["model"]], rows)


def plot(panels: Sequence[Panel], path: pathlib.Path) -> None:
    """Writes a figure with panels side by side."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(5.6 * len(panels), 4.4), layout="constrained")
        for i, (title, measure, rows) in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), i + 1)
            found = means(rows)
            _draw(axes, found)
            seeds = min(mean.seeds for mean in found)
            axes.set_title(f"{title} (seeds: {seeds})", fontsize=10, loc="left")
            axes.set_ylabel(f"{measure} (%)")
            if not i:
                axes.legend(frameon=False, fontsize=8.5, loc="lower right")
    save_webp(figure, path, colors=128)


def _draw(axes: Axes, found: Sequence[Mean]) -> None:
    def line(points: Sequence[Mean], label: str, color: str, marker: str, dash: str) -> None:
        points = sorted(points, key=lambda point: point.bits)
        axes.errorbar(
            [point.bits for point in points],
            [100 * point.accuracy for point in points],
            yerr=[100 * point.spread for point in points],
            label=label,
            color=color,
            marker=marker,
            linestyle=dash,
            markersize=5,
            capsize=2.5,
            linewidth=1.5,
            elinewidth=1.0,
        )

    for prior, (label, color, marker) in PRIORS.items():
        if points := [mean for mean in found if mean.method == prior]:
            line(points, label, color, marker, "-")
    line(
        front([m for m in found if m.method.startswith(PCA)]),
        "PCA, best settings",
        ORANGE,
        "s",
        "--",
    )
    line([m for m in found if m.method.startswith(QUANTIZERS)], QUANTIZERS, GREEN, "^", "-.")
    for name, marker in (("int8", "x"), ("float32 + zip", "+")):
        line([mean for mean in found if mean.method == name], name, INK, marker, "none")
    (plain,) = (mean for mean in found if mean.method == UNCOMPRESSED)
    axes.axhline(100 * plain.accuracy, color=INK, linewidth=1.0, linestyle=":")
    line([plain], "uncompressed (float32)", INK, "*", "none")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("bits per example")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    lowest = min(
        (mean.accuracy for mean in found if mean.method in PRIORS), default=0.9 * plain.accuracy
    )
    top = max(mean.accuracy + mean.spread for mean in found)
    axes.set_ylim(
        max(0.0, 100 * (lowest - 0.25 * (top - lowest))), 100 * (top + 0.06 * (top - lowest))
    )
