"""Measures how well normalized latents fit the Laplacian that they are coded under.

    python -m training.experiments.shrinkage_divergence --shrinkage A.npz --gdn B.npz \
        --images IMAGES --output docs

Writes shrinkage_divergence.csv: for the images, and for images of Laplacian, normal and uniform
noise, the Kullback–Leibler divergence of the normalized latents from the Laplacian of unit
variance, in nats, and the mean bits per pixel and PSNR of files with a step of 1. The divergence is
that of histograms with bins of 0.1 over the latents of all images together.

The noise images have independent samples around 127.5, by default 1024×1024 per channel. Standard
deviations are near those that the published PSNR implies: 16 for Laplacian noise and 25.5 for
normal noise. Uniform noise has the range 0 to 255.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags, logging

from tfc_models.analysis import laplacian_divergence
from tfc_models.cli import absl_programs
from tfc_models.codec import Codec
from training.experiments import shrinkage_codecs

_SIDE = flags.DEFINE_integer("side", 1024, "height and width of noise images", lower_bound=1)

SEED = 0


class Fit(NamedTuple):
    """Results of one codec on some images: means of the images' rates and PSNR."""

    divergence: float
    bpp: float
    psnr: float


def noise() -> Mapping[str, np.ndarray]:
    """Returns images of noise by the name of its distribution."""
    rng, shape = np.random.default_rng(SEED), (_SIDE.value, _SIDE.value, 3)
    samples = {
        "Laplace": rng.laplace(127.5, 16.0 / np.sqrt(2.0), shape),
        "normal": rng.normal(127.5, 25.5, shape),
        "uniform": rng.uniform(-0.5, 255.5, shape),
    }
    return {k: np.clip(np.rint(v), 0, 255).astype(np.uint8) for k, v in samples.items()}


def fit_of(codec: Codec, images: Sequence[np.ndarray]) -> Fit:
    """Returns the results of a codec on images."""
    latents, rates, decibels = [], [], []
    for image in images:
        latents.append(shrinkage_codecs.normalized_latents(codec.model, image))
        data = codec.compress(image, shrinkage_codecs.QUALITY_OF_STEP_1)
        rates.append(8.0 * len(data) / image[..., 0].size)
        decibels.append(shrinkage_codecs.quality("psnr", image, codec.decompress(data)))
    all_latents = np.concatenate(latents)
    return Fit(laplacian_divergence(all_latents), float(np.mean(rates)), float(np.mean(decibels)))


def write() -> None:
    """Writes shrinkage_divergence.csv."""
    path = shrinkage_codecs.output("shrinkage_divergence.csv")
    images = [image for _, image in shrinkage_codecs.named_images()]
    sets = {"images": images, **{k: [v] for k, v in noise().items()}}
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["input", "activation", "divergence", "bpp", "psnr"])
        for name, codec in shrinkage_codecs.codecs().items():
            for source, pixels in sets.items():
                fit = fit_of(codec, pixels)
                table.writerow([source, name, *(round(v, 4) for v in fit)])
                logging.info("%s, %s: %.4f nats, %.4f bpp, %.2f dB", source, name, *fit)


if __name__ == "__main__":
    absl_programs.run(write, shrinkage_codecs)
