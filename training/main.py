"""Trains a model; see training/configs.

    python -m training.main --config training/configs/mbt2018_mean.py --workdir OUT \
        --data PICTURES --validation OTHER_PICTURES --minutes 60

Kill it at any time: the same command goes on where the last checkpoint was. OUT/weights.npz
holds the moving average of the weights from every checkpoint (training.publish makes a model
of the zoo of it), OUT/tensorboard what TensorBoard shows.
"""

from __future__ import annotations

import tensorflow as tf

from tfc_models import models
from training import config as configs
from training import flagged, picture_flags, program
from training.run import Run
from training.trainer import Trainer


def train() -> None:
    """Trains as the flags say."""
    config = flagged.configured(configs.Config)
    picture_flags.check_apart()
    workdir = flagged.workdir_for(config)
    with picture_flags.strategy().scope():
        tf.keras.utils.set_random_seed(config.seed)
        model = models.build(config.model, **config.arguments)
        model.set_bfloat16(config.bfloat16)
        trainer = Trainer(model, config)
    picture_flags.train(Run, trainer, workdir)


if __name__ == "__main__":
    program.run(train, flagged, picture_flags)
