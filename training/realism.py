"""Trains a decoder of more realism for the files of a model.

    python -m training.realism --config realism --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES --minutes 60

See tfc_models/training/configs/realism. Kill it at any time: the same command goes on where the
last checkpoint was. OUT/weights.npz holds the moving average of the decoder's weights, which
`tfc-models decompress --realism-weights` takes.
"""

from __future__ import annotations

from tfc_models.cli import absl_programs
from tfc_models.training.config import RealismTraining
from training import image_flags, run_flags


def train() -> None:
    """Trains as the flags say."""
    image_flags.train(RealismTraining)


if __name__ == "__main__":
    absl_programs.run(train, run_flags, image_flags)
