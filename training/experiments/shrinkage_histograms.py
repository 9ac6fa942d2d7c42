"""Plots histograms of the activations of models with shrinkage and with GDN.

    python -m training.experiments.shrinkage_histograms --shrinkage A.npz --gdn B.npz \
        --images IMAGES --output docs

Writes shrinkage_analysis.webp, with histograms of the input of the analysis, of the output of each
activation, and of the latents; and shrinkage_synthesis.webp, with those of the decoded latents, of
the activations of the synthesis, and of its output. Values are in standard deviations of the map,
the frequency is logarithmic, and each title has the fraction of values that are zero.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from matplotlib import rc_context
from matplotlib.figure import Figure

from tfc_models.analysis.plots import INK, SETTINGS
from tfc_models.cli import absl_programs
from tfc_models.layers import Chain
from tfc_models.models import CompressionModel
from tfc_models.training.source_plots import BLUE, ORANGE, save_webp
from training.experiments import shrinkage_codecs

CROP = 512  # pixels a side at most
REACH, BINS = 6.0, 121  # standard deviations
COLORS = {"shrinkage": BLUE, "GDN": ORANGE}
Maps = dict[str, list[np.ndarray]]


def recorder(chain: Chain, maps: Maps) -> dict[str, Callable[[tf.Tensor], tf.Tensor]]:
    """Returns functions for `Chain` that record the inputs of all convolutions but the first."""

    def of(number: int) -> Callable[[tf.Tensor], tf.Tensor]:
        def record(inputs: tf.Tensor) -> tf.Tensor:
            maps.setdefault(f"activation {number}", []).append(inputs.numpy())
            return inputs

        return record

    names = [layer.name for layer in chain.layers if layer.name.startswith("conv")]
    return {name: of(number) for number, name in enumerate(names) if number}


def analysis_maps(model: CompressionModel, images: list[np.ndarray]) -> Maps:
    """Returns input, activations and output of the analysis."""
    maps: Maps = {"input": [], **{f"activation {i}": [] for i in (1, 2, 3)}, "latents": []}
    before = recorder(model.analysis, maps)
    for image in images:
        x = (tf.constant(image[None], tf.float32) - 127.5) / 255.0
        maps["input"].append(x.numpy())
        maps["latents"].append(model.analysis(x, before=before).numpy())
    return maps


def synthesis_maps(model: CompressionModel, images: list[np.ndarray]) -> Maps:
    """Returns input, activations and output of the synthesis."""
    maps: Maps = {"decoded latents": [], **{f"activation {i}": [] for i in (1, 2, 3)}, "output": []}
    before = recorder(model.synthesis, maps)
    for image in images:
        y_hat, _ = model.coder(shrinkage_codecs.latents_of(model, image))
        maps["decoded latents"].append(y_hat.numpy())
        maps["output"].append(model.synthesis(y_hat, before=before).numpy())
    return maps


def plot(rows: dict[str, Maps]) -> Figure:
    """Returns a figure with a row of histograms for each model."""
    edges = np.linspace(-REACH, REACH, BINS + 1)
    with rc_context(SETTINGS):
        figure = Figure(figsize=(11.0, 4.6), layout="constrained")
        columns = len(next(iter(rows.values())))
        grid = figure.subplots(len(rows), columns, sharex=True, sharey=True)
        for line, (name, maps) in zip(grid, rows.items()):
            for axes, (title, parts) in zip(line, maps.items()):
                values = np.concatenate([part.ravel() for part in parts])
                deviations = (values - values.mean()) / values.std()
                counts, _ = np.histogram(deviations, edges)
                axes.stairs(counts / len(values), edges, fill=True, color=COLORS[name], alpha=0.75)
                axes.set_yscale("log")
                axes.set_ylim(1e-6, 1.0)
                axes.set_title(f"{title}\n{np.mean(values == 0.0):.0%} zeros", fontsize=10)
                axes.spines[["top", "right"]].set_visible(False)
            line[0].set_ylabel(f"{name}\nfraction of values", color=INK)
        figure.supxlabel("standard deviations from the mean", fontsize=10)
    return figure


def write() -> None:
    """Writes both figures."""
    paths = {
        shrinkage_codecs.output("shrinkage_analysis.webp"): analysis_maps,
        shrinkage_codecs.output("shrinkage_synthesis.webp"): synthesis_maps,
    }
    images = []
    for _, image in shrinkage_codecs.named_images():
        height, width = (min(side, CROP) // 16 * 16 for side in image.shape[:2])
        images.append(image[:height, :width])
    codecs = shrinkage_codecs.codecs()
    for path, maps_of in paths.items():
        rows = {name: maps_of(codec.model, images) for name, codec in codecs.items()}
        save_webp(plot(rows), path)


if __name__ == "__main__":
    absl_programs.run(write, shrinkage_codecs)
