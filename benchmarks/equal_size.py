"""Compares two codecs at equal file sizes: all metrics, and a contact sheet.

    python -m benchmarks.equal_size A.npz B.npz --pictures FOLDER --quality 30 --figure OUT.webp

Weights are files, or names in the zoo. B compresses each image at the best quality whose file is
not larger than A's, so both must be variable-rate models. LPIPS needs TFC_MODELS_LPIPS.
"""

from __future__ import annotations

import argparse
import os
import pathlib
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import Image

import tfc_models
from tfc_models import images, metrics
from tfc_models.codec import Codec
from tfc_models.codec.container import LARGEST_QUALITY
from tfc_models.evaluation import sheet


def best_quality(codec: Codec, image: np.ndarray, size: int) -> tuple[int, bytes]:
    """Returns the best quality whose file has at most `size` bytes, and the file."""
    low, high = 0, LARGEST_QUALITY
    best = 0, codec.compress(image, quality=0)
    while low <= high:
        quality = (low + high) // 2
        data = codec.compress(image, quality=quality)
        if len(data) <= size:
            best, low = (quality, data), quality + 1
        else:
            high = quality - 1
    return best


def image_metrics(
    image: np.ndarray, decoded: np.ndarray, functions: dict[str, Callable]
) -> dict[str, float]:
    """Returns all metrics of a decoded image."""
    pair = [tf.constant(pixels[None], tf.float32) for pixels in (image, decoded)]
    return {name: float(function(*pair)[0]) for name, function in functions.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", nargs=2)
    parser.add_argument("--titles", nargs=2, default=["A", "B"])
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--quality", type=int, default=30, help="of the first codec")
    parser.add_argument("--figure", help="file for the contact sheet")
    parser.add_argument("--shown", help="name of the image on it (default: the first)")
    options = parser.parse_args()
    names = [n for n in metrics.METRICS if not metrics.METRICS[n].missing_weights]
    functions = {name: metrics.named(name).function for name in names}
    codecs = [tfc_models.load(weights) for weights in options.weights]
    print(f"| image | codec | quality | bytes | {' | '.join(names)} |")
    print(f"|{'---|' * (4 + len(names))}")
    rows: list[list[dict[str, float]]] = []
    for path in sorted(pathlib.Path(options.pictures).iterdir()):
        if not images.has_image_suffix(path):
            continue
        image = images.read(path, background=(255, 255, 255)).pixels
        first = codecs[0].compress(image, quality=options.quality)
        files = [(options.quality, first), best_quality(codecs[1], image, len(first))]
        decoded = [codec.decompress(data) for codec, (_, data) in zip(codecs, files)]
        figures = [image_metrics(image, pixels, functions) for pixels in decoded]
        for title, (quality, data), own in zip(options.titles, files, figures):
            cells = " | ".join(f"{own[name]:.4g}" for name in names)
            print(f"| {path.stem} | {title} | {quality} | {len(data):,} | {cells} |", flush=True)
        rows.append([{"bytes": len(f[1]), **own} for f, own in zip(files, figures)])
        shown = path.stem == options.shown if options.shown else len(rows) == 1
        if options.figure and shown:
            height, width = image.shape[:2]
            entries = [sheet.Entry(image, "Original", (path.stem, f"{width}×{height}", ""))]
            for title, (_, data), own, pixels in zip(options.titles, files, figures, decoded):
                texts = [f"{name.upper()} {own[name]:.3g}" for name in names if name != "mse"]
                halves = ", ".join(texts[:3]), ", ".join(texts[3:])
                entries.append(sheet.Entry(pixels, title, (f"{len(data):,} bytes", *halves)))
            Image.fromarray(sheet.contact_sheet(entries)).save(options.figure, quality=90)
    for i, title in enumerate(options.titles):
        means = (np.mean([row[i][name] for row in rows]) for name in ("bytes", *names))
        size, *others = means
        cells = " | ".join(f"{value:.4g}" for value in others)
        print(f"| mean | {title} | | {size:,.0f} | {cells} |")


if __name__ == "__main__":
    main()
