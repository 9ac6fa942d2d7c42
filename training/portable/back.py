"""Makes a weights file of the runner's result; training.publish enters it into the zoo.

    python -m training.portable.back --step STEP_DIR --checkpoint OUT/checkpoint.npz \
        --output weights.npz
"""

from __future__ import annotations

import pathlib
import sys
import zipfile

from absl import app, flags, logging

from tfc_models.zoo import files
from training.portable import step

_STEP = flags.DEFINE_string("step", None, "what export wrote", required=True)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "checkpoint.npz of the runner, or average.npz or its pieces", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "weights file", required=True)


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise app.UsageError(f"what is {argv[1]!r}? Everything is a flag; see --help.")
    try:
        model = step.trained_model(pathlib.Path(_STEP.value), pathlib.Path(_CHECKPOINT.value))
        files.save(model, pathlib.Path(_OUTPUT.value))
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        logging.error("%s", str(error).strip().splitlines()[0])
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
