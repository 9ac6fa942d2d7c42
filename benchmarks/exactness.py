"""Measures the cost of exact integers: rates of frozen models relative to float networks.

    python -m benchmarks.exactness WEIGHTS.npz … --calibration IMAGES --pictures OTHER_IMAGES

Weights must not be frozen. Both models code the same whole images, at five rates for variable-rate
models. Prints the increase of the rate by freezing, in percent, and the change of the PSNR.
"""

from __future__ import annotations

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from tfc_models import zoo
from tfc_models.training import data
from tfc_models.training.validation import compare_with_frozen
from tfc_models.zoo import files

RATES = (0.0, 25.0, 50.0, 75.0, 100.0)
CROPS, CROP = 8, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", nargs="+", type=pathlib.Path)
    parser.add_argument(
        "--calibration", required=True, help="images that set the ranges of activations"
    )
    parser.add_argument("--pictures", required=True, help="images to compress")
    options = parser.parse_args()
    crops = data.crops(options.calibration, CROP, 2.0, seed=1).batch(CROPS)
    calibration_images = tf.cast(next(iter(crops)), tf.float32)
    print("| model | rate | float, bpp | frozen, bpp | cost | PSNR |\n|---|---|---|---|---|---|")
    for path in options.weights:
        model = zoo.build_model(files.read(path))
        if model.frozen:
            raise SystemExit(f"error: {path} is frozen: use the weights file written by training.")
        floating, frozen, added = compare_with_frozen(
            model, options.pictures, RATES, calibration_images
        )
        for a, b in zip(floating, frozen):
            cost, gain = 100.0 * (b.bpp / a.bpp - 1.0), b.psnr - a.psnr
            row = f"{a.rate:.0f} | {a.bpp:.4f} | {b.bpp:.4f} | {cost:+.3f} % | {gain:+.3f} dB"
            print(f"| {model.name} | {row} |", flush=True)
        print(f"| {model.name} | mean | | | {100.0 * added:+.3f} % | |", flush=True)


if __name__ == "__main__":
    main()
