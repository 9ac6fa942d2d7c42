"""Trains a compression model; see tfc_models/training/configs/codec.

    python -m training.main --config mbt2018_mean --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES --minutes 60

Kill it at any time: the same command goes on where the last checkpoint was. OUT/weights.npz
holds the moving average of the weights from every checkpoint (training.publish makes a model
of the zoo of it), OUT/tensorboard what TensorBoard shows.
"""

from __future__ import annotations

from tfc_models.cli import absl_programs
from tfc_models.training.config import Config
from training import image_flags, run_flags


def train() -> None:
    """Trains as the flags say."""
    image_flags.train(Config)


if __name__ == "__main__":
    absl_programs.run(train, run_flags, image_flags)
