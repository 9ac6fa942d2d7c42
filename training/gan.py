"""Trains HiFiC in the two stages of its paper; see tfc_models/training/configs/hific.

    python -m training.gan --config hific --workdir FIRST \
        --data IMAGES --validation OTHER_IMAGES
    python -m training.gan --config hific_gan --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES --set start=FIRST/weights.npz

It can be interrupted at any time: the same command resumes from the last checkpoint.
OUT/weights.npz contains the moving average of the weights (training.publish adds it to the zoo).
"""

from __future__ import annotations

from tfc_models.cli import absl_programs
from tfc_models.training.hific_config import HificTraining
from training import image_flags, run_flags


def train() -> None:
    """Trains with the flags' settings."""
    image_flags.train(HificTraining)


if __name__ == "__main__":
    absl_programs.run(train, run_flags, image_flags)
