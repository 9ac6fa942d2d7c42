"""Publishes trained weights in the zoo, frozen, with metrics measured at that time.

    python -m training.publish --weights OUT/weights.npz --name my-photos \
        --calibration TRAINING_IMAGES --validation IMAGES --selected "the learning rates" \
        --note "how it was trained"

Writes NAME.npz and its card NAME.md to --folder, and an entry to the folder's index.json. Published
weights never change: if the name exists already, the next version is created.
"""

from __future__ import annotations

import pathlib

from absl import flags

from tfc_models import zoo
from tfc_models.cli import absl_programs
from tfc_models.training import publishing

_WEIGHTS = flags.DEFINE_string("weights", None, "weights file written by training", required=True)
_NAME = flags.DEFINE_string("name", None, "name in the zoo and in compressed files", required=True)
_CALIBRATION = flags.DEFINE_string("calibration", None, "folder of training images", required=True)
_VALIDATION = flags.DEFINE_string("validation", None, "folder of images not trained on")
_SELECTED = flags.DEFINE_string(
    "selected", None, 'what was selected with the images of --validation, or "nothing"'
)
_SUMMARY = flags.DEFINE_string("summary", "", "one line for the list of models")
_NOTE = flags.DEFINE_string("note", "", "how it was trained: command, machine, time, data, terms")
_DEFAULT = flags.DEFINE_bool("default", False, "make it the zoo's default model")
_WEIGHT_BITS = flags.DEFINE_integer(
    "weight_bits",
    None,
    "bits of the exact networks' weights: more reduce the bitrate and take longer",
    *(2, 16),
)
_ACTIVATION_BITS = flags.DEFINE_integer(
    "activation_bits", None, "bits of the exact networks' activations", 2, 16
)
_FOLDER = flags.DEFINE_string("folder", str(zoo.FOLDER), "folder of the zoo's weights")


def publish() -> None:
    """Publishes a model with the flags' settings."""
    publishing.publish(
        publishing.Publication(
            weights=pathlib.Path(_WEIGHTS.value),
            name=_NAME.value,
            calibration=_CALIBRATION.value,
            validation=_VALIDATION.value,
            selected=_SELECTED.value,
            summary=_SUMMARY.value,
            note=_NOTE.value,
            default=_DEFAULT.value,
            weight_bits=_WEIGHT_BITS.value,
            activation_bits=_ACTIVATION_BITS.value,
            folder=pathlib.Path(_FOLDER.value),
        )
    )


if __name__ == "__main__":
    absl_programs.run(publish)
