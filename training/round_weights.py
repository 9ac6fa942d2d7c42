"""Publishes a zoo model with rounded kernels as its next version.

    python -m training.round_weights --name gained-checkerboard --data TRAINING_IMAGES \
        --step 8e-5 --validation IMAGES --selected "the step"

The new version decodes the files of the earlier one to the same latents. Its other decoders are
rounded as well. See docs/weights.md.
"""

from __future__ import annotations

import pathlib

from absl import flags

from tfc_models import zoo
from tfc_models.cli import absl_programs
from tfc_models.training.rounded_publishing import Rounding, publish_rounded

_NAME = flags.DEFINE_string("name", None, "name of the model in the zoo", required=True)
_DATA = flags.DEFINE_string("data", None, "folder of training images", required=True)
_STEP = flags.DEFINE_float(
    "step", 8e-5, "step of the transforms: larger is smaller and worse", lower_bound=1e-9
)
_DECODER_STEP = flags.DEFINE_float(
    "decoder_step", 8e-5, "step of the realism decoder and the fast decoder", lower_bound=1e-9
)
_CROPS = flags.DEFINE_integer("crops", 96, "crops that statistics are taken from", lower_bound=4)
_SIDE = flags.DEFINE_integer("side", 256, "side of the crops", lower_bound=64)
_SEED = flags.DEFINE_integer("seed", 0, "seed of the crops and the random vectors")
_VALIDATION = flags.DEFINE_string("validation", None, "folder of images not trained on")
_SELECTED = flags.DEFINE_string(
    "selected", None, 'what was selected with the images of --validation, or "nothing"'
)
_FOLDER = flags.DEFINE_string("folder", str(zoo.FOLDER), "folder of the zoo's weights")


def publish() -> None:
    """Publishes a model with the flags' settings."""
    publish_rounded(
        Rounding(
            name=_NAME.value,
            data=_DATA.value,
            step=_STEP.value,
            decoder_step=_DECODER_STEP.value,
            crops=_CROPS.value,
            side=_SIDE.value,
            seed=_SEED.value,
            validation=_VALIDATION.value,
            selected=_SELECTED.value,
            folder=pathlib.Path(_FOLDER.value),
        )
    )


if __name__ == "__main__":
    absl_programs.run(publish)
