"""Converts the runner's result to a weights file, which training.publish adds to the zoo.

    python -m training.portable.import_weights --step STEP_DIR --checkpoint OUT/checkpoint.npz \
        --output weights.npz
"""

from __future__ import annotations

import pathlib
import zipfile

from absl import flags

from tfc_models.cli import absl_programs
from tfc_models.zoo import files
from training.portable import step

_STEP = flags.DEFINE_string("step", None, "folder of the exported step", required=True)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "checkpoint.npz of the runner, or average.npz or its pieces", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "weights file to write", required=True)


def convert() -> None:
    """Converts with the flags' settings."""
    model = step.load_trained_model(pathlib.Path(_STEP.value), pathlib.Path(_CHECKPOINT.value))
    files.save(model, pathlib.Path(_OUTPUT.value))


if __name__ == "__main__":
    absl_programs.run(convert, errors=(ValueError, OSError, zipfile.BadZipFile))
