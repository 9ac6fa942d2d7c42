"""Publishes a fast decoder in the zoo, with metrics measured at that time.

    python -m training.publish_decoder --weights OUT/weights.npz --name gained-checkerboard \
        --validation IMAGES --note "how it was trained" --selected nothing

Writes NAME.fast.npz and its card next to the model's weights, and adds them to the model's entry.
If the entry has a fast decoder already, the new one gets the next version number; published files
are not changed.
"""

from __future__ import annotations

import pathlib

from absl import flags

from tfc_models import zoo
from tfc_models.cli import absl_programs
from tfc_models.training import decoder_publishing

_WEIGHTS = flags.DEFINE_string("weights", None, "output of training.decoder", required=True)
_NAME = flags.DEFINE_string("name", None, "name of the model in the zoo", required=True)
_VALIDATION = flags.DEFINE_string(
    "validation", None, "folder of images not trained on", required=True
)
_NOTE = flags.DEFINE_string(
    "note", None, "how it was trained: command, machine, time, data, terms", required=True
)
_SELECTED = flags.DEFINE_string(
    "selected",
    None,
    'what was selected with the images of --validation, or "nothing"',
    required=True,
)
_FOLDER = flags.DEFINE_string("folder", str(zoo.FOLDER), "folder of the zoo's weights")


def publish() -> None:
    """Publishes a decoder with the flags' settings."""
    decoder_publishing.publish(
        pathlib.Path(_FOLDER.value),
        _NAME.value,
        pathlib.Path(_WEIGHTS.value),
        _VALIDATION.value,
        _NOTE.value,
        _SELECTED.value,
    )


if __name__ == "__main__":
    absl_programs.run(publish)
