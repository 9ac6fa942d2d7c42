"""Trains a compression model; see tfc_models/training/configs/codec.

    python -m training.main --config mbt2018_mean --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES --minutes 60

It can be interrupted at any time: the same command resumes from the last checkpoint.
OUT/weights.npz contains the moving average of the weights (training.publish adds it to the zoo),
and OUT/tensorboard the logs for TensorBoard.
"""

from __future__ import annotations

from tfc_models.cli import absl_programs
from tfc_models.training.config import Config
from training import image_flags, run_flags


def train() -> None:
    """Trains with the flags' settings."""
    image_flags.train(Config)


if __name__ == "__main__":
    absl_programs.run(train, run_flags, image_flags)
