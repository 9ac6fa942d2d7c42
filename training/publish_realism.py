"""Enters a realism decoder into the zoo, with figures measured on the spot.

    python -m training.publish_realism --weights OUT/weights.npz --name gained-checkerboard \
        --validation IMAGES --note "how it was trained" --invents "what to look out for"

Writes NAME.realism.npz and its card beside the model's weights, and into their entry. An entry
that has a decoder gets the next version of it: what was published stays as it is.
"""

from __future__ import annotations

import pathlib

from absl import flags

from tfc_models import zoo
from tfc_models.cli import absl_programs
from tfc_models.training import realism_publishing

_WEIGHTS = flags.DEFINE_string("weights", None, "what training.realism wrote", required=True)
_NAME = flags.DEFINE_string("name", None, "of the model in the zoo", required=True)
_VALIDATION = flags.DEFINE_string("validation", None, "never trained on", required=True)
_NOTE = flags.DEFINE_string(
    "note", None, "how it was trained: command, machine, time, data, terms", required=True
)
_INVENTS = flags.DEFINE_string(
    "invents", None, "what it makes up, seen by looking at its pictures", required=True
)
_SELECTED = flags.DEFINE_string(
    "selected",
    None,
    'what was chosen by looking at --validation, or "nothing"',
    required=True,
)
_FOLDER = flags.DEFINE_string("folder", str(zoo.FOLDER), "where the zoo's weights are")


def publish() -> None:
    """Publishes as the flags say."""
    realism_publishing.publish(
        pathlib.Path(_FOLDER.value),
        _NAME.value,
        pathlib.Path(_WEIGHTS.value),
        _VALIDATION.value,
        _NOTE.value,
        _INVENTS.value,
        _SELECTED.value,
    )


if __name__ == "__main__":
    absl_programs.run(publish)
