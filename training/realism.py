"""Trains a realism decoder for the files of a model.

    python -m training.realism --config realism --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES --minutes 60

See tfc_models/training/configs/realism. It can be interrupted at any time: the same command resumes
from the last checkpoint. OUT/weights.npz contains the moving average of the decoder's weights, for
`tfc-models decompress --realism-weights`.
"""

from __future__ import annotations

from tfc_models.cli import absl_programs
from tfc_models.training.config import RealismTraining
from training import image_flags, run_flags


def train() -> None:
    """Trains with the flags' settings."""
    image_flags.train(RealismTraining)


if __name__ == "__main__":
    absl_programs.run(train, run_flags, image_flags)
