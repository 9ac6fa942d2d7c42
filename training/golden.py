"""Writes a golden bitstream: small weights, a file that they coded, and its decoded image.

    python -m training.golden --weights OUT/weights.npz --calibration DIR --picture PHOTO \
        --output tests/golden

A golden file is made once, when a model is registered, and decodes forever: this refuses to
replace one.
"""

from __future__ import annotations

import pathlib

import numpy as np
from absl import flags
from PIL import Image

from tfc_models import zoo
from tfc_models.cli import absl_programs
from tfc_models.codec import Codec
from tfc_models.training.samples import calibration_batch
from tfc_models.zoo import files

_WEIGHTS = flags.DEFINE_string("weights", None, "what fit wrote", required=True)
_CALIBRATION = flags.DEFINE_string("calibration", None, "a folder", required=True)
_PICTURE = flags.DEFINE_string("picture", None, "the picture to code", required=True)
_OUTPUT = flags.DEFINE_string("output", "tests/golden", "folder")


def write() -> None:
    """Writes as the flags say."""
    model = zoo.build_model(files.read(pathlib.Path(_WEIGHTS.value)))
    stem = pathlib.Path(_OUTPUT.value) / model.name
    if stem.with_suffix(".tfcm").exists():
        raise ValueError(f"{stem}.tfcm exists, and decodes forever.")
    model.set_bfloat16("off")
    codec = Codec(model, pictures=calibration_batch(_CALIBRATION.value))
    data = codec.compress(np.asarray(Image.open(_PICTURE.value).convert("RGB")))
    files.save(model, stem.with_suffix(".npz"))
    stem.with_suffix(".tfcm").write_bytes(data)
    Image.fromarray(codec.decompress(data)).save(stem.with_suffix(".png"))


if __name__ == "__main__":
    absl_programs.run(write)
