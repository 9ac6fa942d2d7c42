"""What exact integers cost: bits of frozen models against those of their float networks.

    python -m benchmarks.exactness WEIGHTS.npz … --calibration IMAGES --pictures OTHER_IMAGES

Weights are as training leaves them, not frozen. Both kinds code the same whole pictures, of many
rates at five; what is printed is what freezing adds, in percent, and the PSNR that it takes away.
"""

from __future__ import annotations

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from tfc_models import zoo
from tfc_models.training import data
from tfc_models.training.validation import beside_frozen
from tfc_models.zoo import files

RATES = (0.0, 25.0, 50.0, 75.0, 100.0)
CROPS, CROP = 8, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", nargs="+", type=pathlib.Path)
    parser.add_argument("--calibration", required=True, help="pictures that set ranges")
    parser.add_argument("--pictures", required=True, help="pictures to code")
    options = parser.parse_args()
    crops = data.crops(options.calibration, CROP, 2.0, seed=1).batch(CROPS)
    shown = tf.cast(next(iter(crops)), tf.float32)
    print("| model | rate | float, bpp | frozen, bpp | cost | PSNR |\n|---|---|---|---|---|---|")
    for path in options.weights:
        model = zoo.build_model(files.read(path))
        if model.frozen:
            raise SystemExit(f"error: {path} is frozen: take what training left.")
        floating, frozen, added = beside_frozen(model, options.pictures, RATES, shown)
        for a, b in zip(floating, frozen):
            cost, gain = 100.0 * (b.bpp / a.bpp - 1.0), b.psnr - a.psnr
            row = f"{a.rate:.0f} | {a.bpp:.4f} | {b.bpp:.4f} | {cost:+.3f} % | {gain:+.3f} dB"
            print(f"| {model.name} | {row} |", flush=True)
        print(f"| {model.name} | mean | | | {100.0 * added:+.3f} % | |", flush=True)


if __name__ == "__main__":
    main()
