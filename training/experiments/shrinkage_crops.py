"""Shows details of images that shrinkage and GDN code at equal rates.

    python -m training.experiments.shrinkage_crops --shrinkage A.npz --gdn B.npz \
        --images IMAGES --count 3 --output docs

Writes shrinkage_crops.webp, a row for each image: the original, and both decoded
images of the pair of steps whose files have the most similar sizes. The detail is where both differ
most from the original.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from absl import logging
from PIL import Image

from tfc_models.cli import absl_programs
from tfc_models.codec import Codec
from tfc_models.evaluation import sheet
from training.experiments import shrinkage_codecs

WEBP_QUALITY = 85


def equal_files(codecs: dict[str, Codec], image: np.ndarray) -> dict[str, bytes]:
    """Returns the files of both codecs whose sizes differ least in proportion."""
    files = [
        [codec.compress(image, q) for q in shrinkage_codecs.QUALITIES] for codec in codecs.values()
    ]
    pairs = itertools.product(*files)
    best = min(pairs, key=lambda pair: abs(math.log(len(pair[0]) / len(pair[1]))))
    return dict(zip(codecs, best))


def row(codecs: dict[str, Codec], name: str, image: np.ndarray) -> np.ndarray:
    """Returns the details of an image and of both decoded images, beside one another."""
    files = equal_files(codecs, image)
    decoded = {key: codecs[key].decompress(data) for key, data in files.items()}
    box = sheet.detail_box(image, list(decoded.values()))

    def detail(pixels: np.ndarray) -> np.ndarray:
        return sheet.enlarged(pixels if box is None else box.of(pixels))

    tiles = [sheet.tile([detail(image)], "original", [name], detail(image).shape[1])]
    for key, data in files.items():
        bpp = 8.0 * len(data) / image[..., 0].size
        decibels = shrinkage_codecs.quality("psnr", image, decoded[key])
        logging.info("%s, %s: %.4f bpp, %.2f dB", name, key, bpp, decibels)
        text = f"{bpp:.3f} bpp, {decibels:.2f} dB"
        tiles.append(sheet.tile([detail(decoded[key])], key, [text], detail(image).shape[1]))
    return sheet.arranged(tiles, len(tiles))


def write() -> None:
    """Writes shrinkage_crops.webp."""
    path = shrinkage_codecs.output("shrinkage_crops.webp")
    codecs = shrinkage_codecs.codecs()
    rows = [row(codecs, *pair) for pair in shrinkage_codecs.named_images()]
    width = max(r.shape[1] for r in rows)
    padded = [
        np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=sheet.PAPER)
        for r in rows
    ]
    Image.fromarray(np.concatenate(padded)).save(path, quality=WEBP_QUALITY, method=6)


if __name__ == "__main__":
    absl_programs.run(write, shrinkage_codecs)
