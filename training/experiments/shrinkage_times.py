"""Measures the time of encoding and decoding with shrinkage and with GDN, by image size.

    python -m training.experiments.shrinkage_times --shrinkage A.npz --gdn B.npz \
        --images IMAGES --count 24 --output docs

Writes shrinkage_times.csv: for the first --count images, the seconds of encoding and
decoding a file with a step of 1, in float32 and in bfloat16, and their sums by image size. Both
codecs take turns on each image, so that other work on the machine affects them alike. bfloat16 is
omitted on processors without it.
"""

from __future__ import annotations

import collections
import csv
import time

import numpy as np
import tensorflow as tf
from absl import flags, logging

from tfc_models.cli import absl_programs
from tfc_models.codec import Codec
from training.experiments import shrinkage_codecs

_ROUNDS = flags.DEFINE_integer("rounds", 3, "measurements, of which the least counts", 1)

DTYPES = {"float32": "off", "bfloat16": "on"}
WARM_UP = 64  # pixels a side


def seconds(codec: Codec, image: np.ndarray) -> tuple[float, float]:
    """Returns the times of encoding and of decoding an image."""
    start = time.perf_counter()
    data = codec.compress(image, shrinkage_codecs.QUALITY_OF_STEP_1)
    middle = time.perf_counter()
    codec.decompress(data)
    return middle - start, time.perf_counter() - middle


def usable(codecs: dict[str, Codec], setting: str) -> bool:
    """Sets the dtype of the networks and traces them; returns whether the processor has it."""
    small = np.zeros([WARM_UP, WARM_UP, 3], np.uint8)
    try:
        for codec in codecs.values():
            codec.model.set_bfloat16(setting)
            seconds(codec, small)
    except tf.errors.OpError as error:
        logging.info("bfloat16=%s is omitted: %s", setting, absl_programs.first_line(error))
        return False
    return True


def write() -> None:
    """Writes shrinkage_times.csv."""
    path = shrinkage_codecs.output("shrinkage_times.csv")
    images = shrinkage_codecs.named_images()
    totals: dict[tuple[str, ...], np.ndarray] = collections.defaultdict(lambda: np.zeros(3))
    for dtype, setting in DTYPES.items():
        codecs = shrinkage_codecs.codecs()  # Codecs keep the graphs of their first dtype.
        if not usable(codecs, setting):
            continue
        for _, image in images:
            size = f"{image.shape[1]}×{image.shape[0]}"
            runs: dict[str, list[tuple[float, float]]] = {name: [] for name in codecs}
            for _ in range(_ROUNDS.value):
                for name, codec in codecs.items():
                    runs[name].append(seconds(codec, image))
            for name, times in runs.items():
                totals[dtype, size, name] += (1, *np.min(times, axis=0))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["dtype", "size", "activation", "images", "encode", "decode"])
        sums: dict[tuple[str, str], np.ndarray] = collections.defaultdict(lambda: np.zeros(3))
        for (dtype, size, name), row in sorted(totals.items()):
            table.writerow([dtype, size, name, int(row[0]), *np.round(row[1:], 4)])
            sums[dtype, name] += row
        for (dtype, name), (count, *times) in sums.items():
            logging.info(
                "%s, %s, %d images: %.3f s encoding, %.3f s decoding", dtype, name, count, *times
            )


if __name__ == "__main__":
    absl_programs.run(write, shrinkage_codecs)
