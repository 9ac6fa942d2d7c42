"""Measures and plots rate–distortion curves over the quantization step, without training again.

    python -m training.experiments.shrinkage_curves --shrinkage A.npz --gdn B.npz \
        --images IMAGES --output docs

Writes shrinkage_curves.csv, mean bits per pixel, PSNR and MS-SSIM of files at each step, and
shrinkage_psnr.webp and shrinkage_ms_ssim.webp.
"""

from __future__ import annotations

import csv

import numpy as np
from absl import logging

from tfc_models import analysis
from tfc_models.analysis import Curve, Point, rd_plot
from tfc_models.analysis.curves import METRICS
from tfc_models.cli import absl_programs
from tfc_models.codec import Codec
from tfc_models.entropy.normalized import STEPS
from tfc_models.training.source_plots import save_webp
from training.experiments import shrinkage_codecs

FILES = {"psnr": "shrinkage_psnr.webp", "ms_ssim": "shrinkage_ms_ssim.webp"}


def point(codec: Codec, images: list[np.ndarray], quality: int) -> Point:
    """Returns the means over images at a quality."""
    rows = []
    for image in images:
        data = codec.compress(image, quality)
        decoded = codec.decompress(data)
        bpp = 8.0 * len(data) / image[..., 0].size
        qualities = (shrinkage_codecs.quality(name, image, decoded) for name in ("psnr", "ms-ssim"))
        rows.append([bpp, *qualities])
    bpp, psnr, ms_ssim = np.mean(rows, axis=0)
    return Point(float(bpp), float(psnr), float(ms_ssim))


def write() -> None:
    """Writes the table and the plots."""
    path = shrinkage_codecs.output("shrinkage_curves.csv")
    images = [image for _, image in shrinkage_codecs.named_images()]
    curves = {}
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["activation", "step", "quality", "bpp", "psnr", "ms_ssim"])
        for name, codec in shrinkage_codecs.codecs().items():
            points = []
            for step, quality in zip(STEPS, shrinkage_codecs.QUALITIES):
                result = point(codec, images, quality)
                points.append(result)
                figures = [round(v, 4) for v in result[:3]]
                table.writerow([name, round(step, 4), quality, *figures])
                logging.info("%s, step %.3f: %.4f bpp, %.3f dB, %.4f", name, step, *figures)
            curves[name] = Curve(name, tuple(points), "model")
    for metric in METRICS:
        title = f"{len(images)} images, steps 2 to 1/2"
        figure = rd_plot(list(curves.values()), metric, title)
        save_webp(figure, shrinkage_codecs.output(FILES[metric.name]))
        pair = (curves[name].of(metric) for name in ("GDN", "shrinkage"))
        try:
            rate = analysis.bd_rate(*pair)
            logging.info("BD-rate of shrinkage over GDN in %s: %+.2f %%", metric.short, rate)
        except ValueError as error:
            logging.info("no BD-rate in %s: %s", metric.short, error)


if __name__ == "__main__":
    absl_programs.run(write, shrinkage_codecs)
