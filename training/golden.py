"""Writes a golden bitstream: weights of a small model, a compressed file, and its decoded image.

    python -m training.golden --weights OUT/weights.npz --calibration DIR --picture PHOTO \
        --output tests/golden

A golden file is created once, when a model is registered, and must decode forever. The program
therefore does not replace existing files.
"""

from __future__ import annotations

import pathlib

import numpy as np
from absl import flags
from PIL import Image

from tfc_models import zoo
from tfc_models.cli import absl_programs
from tfc_models.codec import Codec
from tfc_models.training.calibration import calibration_batch
from tfc_models.zoo import files

_WEIGHTS = flags.DEFINE_string("weights", None, "weights file written by training", required=True)
_CALIBRATION = flags.DEFINE_string("calibration", None, "folder of training images", required=True)
_IMAGE = flags.DEFINE_string("picture", None, "image to compress", required=True)
_OUTPUT = flags.DEFINE_string("output", "tests/golden", "folder for the golden files")


def write() -> None:
    """Writes a golden bitstream with the flags' settings."""
    model = zoo.build_model(files.read(pathlib.Path(_WEIGHTS.value)))
    stem = pathlib.Path(_OUTPUT.value) / model.name
    if stem.with_suffix(".tfcm").exists():
        raise ValueError(f"{stem}.tfcm exists already: golden files are never replaced.")
    model.set_bfloat16("off")
    codec = Codec(model, images=calibration_batch(_CALIBRATION.value))
    data = codec.compress(np.asarray(Image.open(_IMAGE.value).convert("RGB")))
    files.save(model, stem.with_suffix(".npz"))
    stem.with_suffix(".tfcm").write_bytes(data)
    Image.fromarray(codec.decompress(data)).save(stem.with_suffix(".png"))


if __name__ == "__main__":
    absl_programs.run(write)
