"""Compares encode and decode times of a model with those of the zoo's default model.

    python -m benchmarks.beside_default --models gained-shallow --picture PHOTO

The image is scaled to 768×512. Both models encode and decode it in turn, in one process, so that
other work on the machine affects them alike. The table has medians of warm calls, and the median
of the ratios of neighboring calls.
"""

from __future__ import annotations

import pathlib
import time

import numpy as np
from absl import flags
from PIL import Image

import tfc_models
from tfc_models import images
from tfc_models.cli import absl_programs
from tfc_models.codec import Codec

_MODELS = flags.DEFINE_list("models", None, "names in the zoo, or weights files", required=True)
_PICTURE = flags.DEFINE_string("picture", None, "image", required=True)
_QUALITIES = flags.DEFINE_list("qualities", ["25", "50", "75"], "qualities of the files")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "calls of each model", 1)

DEFAULT = "default"
SIZE = 768, 512


def seconds(codec: Codec, image: np.ndarray, quality: int) -> tuple[float, float]:
    """Returns the times of encoding and of decoding an image."""
    start = time.perf_counter()
    data = codec.compress(image, quality)
    middle = time.perf_counter()
    codec.decompress(data)
    return middle - start, time.perf_counter() - middle


def measure() -> None:
    """Prints a table for each of the flags' models."""
    pixels = images.read(pathlib.Path(_PICTURE.value), background=(255, 255, 255)).pixels
    image = np.asarray(Image.fromarray(pixels).resize(SIZE, Image.Resampling.LANCZOS))
    default = tfc_models.load(DEFAULT)
    print("| model | quality | encode, ms | default | ratio | decode, ms | default | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for name in _MODELS.value:
        codec = tfc_models.load(name)
        for quality in map(int, _QUALITIES.value):
            rounds = [
                [seconds(codec, image, quality), seconds(default, image, quality)]
                for _ in range(_ROUNDS.value + 1)
            ]
            times = 1e3 * np.array(rounds[1:])  # round × model × (encode, decode)
            own, other = np.median(times, axis=0)
            ratio = np.median(times[:, 0] / times[:, 1], axis=0)
            cells = (f"{a:.0f} | {b:.0f} | {r:.2f}" for a, b, r in zip(own, other, ratio))
            print(f"| `{name}` | {quality} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    absl_programs.run(measure)
