"""Freezes fitted weights and enters them into the zoo, with figures measured on the spot.

    python -m training.publish --weights OUT/weights.npz --name my-photos \
        --calibration TRAINING_IMAGES --validation IMAGES --selected "the learning rates" \
        --note "how it was trained"

Writes NAME.npz and its card NAME.md to --folder, and the entry to its index.json. The weights
of a version of a name never change: under a name that is taken, this makes the next version.
"""

from __future__ import annotations

import pathlib

from absl import flags

from tfc_models import zoo
from tfc_models.cli import absl_programs
from tfc_models.training import publishing

_WEIGHTS = flags.DEFINE_string("weights", None, "what fit wrote", required=True)
_NAME = flags.DEFINE_string("name", None, "name in the zoo and in files", required=True)
_CALIBRATION = flags.DEFINE_string(
    "calibration", None, "folder of training pictures", required=True
)
_VALIDATION = flags.DEFINE_string("validation", None, "folder of pictures never trained on")
_SELECTED = flags.DEFINE_string(
    "selected", None, 'what was chosen by looking at --validation, or "nothing"'
)
_SUMMARY = flags.DEFINE_string("summary", "", "one line for the list of models")
_NOTE = flags.DEFINE_string("note", "", "how it was trained: command, machine, time, data, terms")
_DEFAULT = flags.DEFINE_bool("default", False, "make it the zoo's default")
_WEIGHT_BITS = flags.DEFINE_integer(
    "weight_bits", None, "of the exact networks: more cost less rate, and time", 2, 16
)
_ACTIVATION_BITS = flags.DEFINE_integer("activation_bits", None, "likewise", 2, 16)
_FOLDER = flags.DEFINE_string("folder", str(zoo.FOLDER), "where the zoo's weights are")


def publish() -> None:
    """Publishes as the flags say."""
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
