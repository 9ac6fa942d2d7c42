"""Trains a decoder that replaces the synthesis of a model and reads the same files.

    python -m training.decoder --config decoder --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES --set distortion="0.0005*mse + lpips"

See tfc_models/training/configs/decoder. It can be interrupted at any time: the same command resumes
from the last checkpoint. OUT/weights.npz contains the moving average of the decoder's weights, for
`tfc_models.decoders.decoder_file`.
"""

from __future__ import annotations

from tfc_models.cli import absl_programs
from tfc_models.training.decoder_config import DecoderTraining
from training import image_flags, run_flags


def train() -> None:
    """Trains with the flags' settings."""
    image_flags.train(DecoderTraining)


if __name__ == "__main__":
    absl_programs.run(train, run_flags, image_flags)
