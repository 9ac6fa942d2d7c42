"""Trains HiFiC in the two stages of its paper; see tfc_models/training/configs/hific.

    python -m training.gan --config hific --workdir FIRST \
        --data IMAGES --validation OTHER_IMAGES
    python -m training.gan --config hific_gan --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES --set start=FIRST/weights.npz

Kill it at any time: the same command goes on where the last checkpoint was. OUT/weights.npz
holds the moving average of the weights (training.publish makes a model of the zoo of it).
"""

from __future__ import annotations

from tfc_models.cli import absl_programs
from tfc_models.training.hific_config import HificTraining
from training import image_flags, run_flags


def train() -> None:
    """Trains as the flags say."""
    image_flags.train(HificTraining)


if __name__ == "__main__":
    absl_programs.run(train, run_flags, image_flags)
