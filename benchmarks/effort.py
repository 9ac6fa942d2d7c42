"""Measures the search for better latents: cost, size, PSNR and seconds of each effort.

    python -m benchmarks.effort --pictures FOLDER --efforts 1,3,6,9 --qualities 20,50,80

The cost is rate + λ · squared error of the real file. Its change in bits, relative to the file
of effort 0, approximates the change of the rate at equal distortion. Seconds are medians over
images, in one process, after building graphs.
"""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf
from absl import flags

import tfc_models
from tfc_models import metrics
from tfc_models.cli import absl_programs
from tfc_models.codec import Codec
from tfc_models.codec.tuning import distortion_of, squared_error_weight, tuning_of
from tfc_models.training import data

_PICTURES = flags.DEFINE_string("pictures", None, "folder of images", required=True)
_MODEL = flags.DEFINE_string("model", "default", "name in the zoo, or path of a weights file")
_EFFORTS = flags.DEFINE_list("efforts", ["1", "3", "6", "9"], "efforts in addition to 0")
_QUALITIES = flags.DEFINE_list(
    "qualities", ["20", "50", "80"], "qualities of a variable-rate model"
)


def measure_file(codec: Codec, image: np.ndarray, quality: int, effort: int) -> list[float]:
    """Returns bits, cost in bits, PSNR and seconds of one file."""
    start = time.perf_counter()
    file = codec.compress(image, quality, effort=effort)
    seconds = time.perf_counter() - start
    decoded = codec.decompress(file)
    weight = float(squared_error_weight(codec.model, tf.constant(float(quality))))
    pixels = image.shape[0] * image.shape[1]
    distortion = distortion_of(tuning_of("psnr", codec.model), image, decoded)
    bits = 8.0 * len(file)
    psnr = float(metrics.psnr(image[None], decoded[None])[0])
    return [bits, bits + weight * pixels * distortion, psnr, seconds]


def measure() -> None:
    """Measures with the flags' settings and prints the table."""
    codec = tfc_models.load(_MODEL.value)
    images = [pixels for _, pixels in data.named_images(_PICTURES.value)]
    if not images:
        raise ValueError(f"{_PICTURES.value} has no readable images.")
    for shape in {image.shape for image in images}:  # Builds graphs of every size.
        codec.compress(np.zeros(shape, np.uint8), effort=1)
    print("| quality | effort | cost | size | PSNR, dB | seconds |\n|---|---|---|---|---|---|")
    for quality in map(int, _QUALITIES.value):
        single = np.array([measure_file(codec, image, quality, 0) for image in images])
        for effort in [0, *map(int, _EFFORTS.value)]:
            rows = single
            if effort:
                rows = np.array([measure_file(codec, image, quality, effort) for image in images])
            cost = 100.0 * np.mean((rows[:, 1] - single[:, 1]) / single[:, 0])
            size = 100.0 * np.mean(rows[:, 0] / single[:, 0] - 1.0)
            psnr = np.mean(rows[:, 2] - single[:, 2])
            seconds = np.median(rows[:, 3])
            line = f"| {quality} | {effort} | {cost:+.2f} % | {size:+.2f} % | {psnr:+.3f} |"
            print(f"{line} {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    absl_programs.run(measure)
