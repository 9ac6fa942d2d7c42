"""Figures of decoders for several γ: over distortion, over the rate, and details of photos."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tfc_models.analysis.plots import FAINT, INK, SETTINGS
from tfc_models.evaluation import sheet
from tfc_models.training.source_plots import save_webp
from training.experiments import realism_curve_table as tables
from training.experiments.perception_measurement import OWN, Measurement
from training.experiments.realism_curve_table import PERCEPTION, Panel

WEBP_QUALITY = 80
ZOOM = 2


def path(prefix: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the path of a figure."""
    return prefix.parent / f"{prefix.name}_{name}.webp"


def checked_names(names: Sequence[str], images: Mapping[str, np.ndarray]) -> list[str]:
    """Returns --shown; raises ValueError for images that are not in --validation."""
    for name in names:
        if name not in images:
            raise ValueError(
                f"--shown {name} is not in --validation, which has {', '.join(images)}."
            )
    return list(names)


def checked_gamma(gamma: float, gammas: Sequence[float]) -> float:
    """Returns --shown_gamma; raises ValueError unless there is a decoder for it."""
    if gamma not in gammas:
        known = ", ".join(map(tables.format_gamma, gammas))
        raise ValueError(f"--shown_gamma {gamma:g} is not one of --gammas, {known}.")
    return gamma


def plot_curve(panels: Sequence[Panel], trained: str, target: pathlib.Path) -> None:
    """Plots perception over distortion, with a panel for each rate, and marks the knees."""
    tables.plot(panels, trained, target, columns=2)


def plot_rates(panels: Sequence[Panel], trained: str, target: pathlib.Path) -> None:
    """Plots PSNR and the perceptual distance over the rate, with a curve for each γ."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(9.6, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2)
        _over_rate(left, panels, "psnr", "PSNR, dB")
        _over_rate(right, panels, PERCEPTION, f"{trained.upper()}, lower is better")
        right.legend(frameon=False, fontsize=8.5, title="γ", title_fontsize=8.5)
    save_webp(figure, target, colors=64)


def _over_rate(axes: Axes, panels: Sequence[Panel], name: str, title: str) -> None:
    rates = [panel.bpp for panel in panels]
    count = len(panels[0].points)
    for i in range(count):
        gamma = panels[0].points[i].gamma
        label = tables.format_gamma(gamma)
        style = {"color": colormaps["viridis"](i / count), "linewidth": 1.4, "markersize": 4.5}
        if gamma == OWN:
            label, style = f"{label}, own decoder", {"color": INK, "linewidth": 2.2}
        values = [panel.points[i].mean(name) for panel in panels]
        axes.plot(rates, values, label=label, marker="o", **style)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel("bits per pixel")
    axes.set_ylabel(title)


def details(
    measurement: Measurement,
    decoders: Mapping[float, pathlib.Path | None],
    quality: int | None,
    names: Sequence[str],
) -> np.ndarray:
    """Returns details of images: a row for each, with the original and what decoders return.

    The detail of an image is where the decoded images differ most from the original.
    """
    built = {gamma: measurement.decoder(file) for gamma, file in decoders.items()}
    positions = list(measurement.images)
    rows = []
    for name in names:
        index, image = positions.index(name), measurement.images[name]
        decoded = {g: measurement.decoded(d, quality, index) for g, d in built.items()}
        box = sheet.detail_box(image, list(decoded.values()))

        def detail(pixels: np.ndarray, box: sheet.Box | None = box) -> np.ndarray:
            return sheet.enlarged(pixels if box is None else box.of(pixels), ZOOM)

        width = detail(image).shape[1]
        bpp = measurement.bpp(quality, index)
        stem = pathlib.PurePath(name).stem
        tiles = [sheet.tile([detail(image)], "original", [stem], width)]
        for gamma, pixels in decoded.items():
            title = "own decoder" if gamma == OWN else f"γ = {tables.format_gamma(gamma)}"
            psnr, perception = (
                measurement.measured(image, pixels)[key] for key in ("psnr", PERCEPTION)
            )
            text = f"{bpp:.3f} bpp, {psnr:.2f} dB, {perception:.3f}"
            tiles.append(sheet.tile([detail(pixels)], title, [text], width))
        rows.append(sheet.arranged(tiles, len(tiles)))
    widest = max(row.shape[1] for row in rows)
    padded = [
        np.pad(r, ((0, 0), (0, widest - r.shape[1]), (0, 0)), constant_values=sheet.PAPER)
        for r in rows
    ]
    return np.concatenate(padded)


def save_photos(pixels: np.ndarray, target: pathlib.Path) -> None:
    """Writes a figure with photos as a WebP file."""
    Image.fromarray(pixels).save(target, quality=WEBP_QUALITY, method=6)
