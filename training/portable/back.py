"""Makes a weights file of the runner's result; training.publish enters it into the zoo.

    python -m training.portable.back --step STEP_DIR --checkpoint OUT/checkpoint.npz \
        --output weights.npz
"""

from __future__ import annotations

import pathlib
import zipfile

from absl import flags

from tfc_models.cli import absl_programs
from tfc_models.zoo import files
from training.portable import step

_STEP = flags.DEFINE_string("step", None, "what export wrote", required=True)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "checkpoint.npz of the runner, or average.npz or its pieces", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "weights file", required=True)


def convert() -> None:
    """Converts as the flags say."""
    model = step.trained_model(pathlib.Path(_STEP.value), pathlib.Path(_CHECKPOINT.value))
    files.save(model, pathlib.Path(_OUTPUT.value))


if __name__ == "__main__":
    absl_programs.run(convert, errors=(ValueError, OSError, zipfile.BadZipFile))
