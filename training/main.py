"""Trains a model; see training/configs.

    python -m training.main --config training/configs/mbt2018_mean.py --workdir OUT \
        --data PICTURES --validation OTHER_PICTURES --minutes 60

Kill it at any time: the same command goes on where the last checkpoint was. OUT/weights.npz
holds the moving average of the weights from every checkpoint (training.publish makes a model
of the zoo of it), OUT/tensorboard what TensorBoard shows.
"""

from __future__ import annotations

import tensorflow as tf
from absl import app, flags

from tfc_models import models
from training import config as configs
from training import data, flagged, identity
from training.program import one_line_errors
from training.run import Run
from training.trainer import Trainer

_DATA = flags.DEFINE_string(
    "data", None, "pictures: a folder, a glob, or tfds:NAME[:SPLIT]", required=True
)
_VALIDATION = flags.DEFINE_string("validation", None, "folder of whole pictures, not of --data")
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    "none",
    ["none", "mirrored", "multiworker"],
    "several devices, or workers (TF_CONFIG)",
)


def strategy_of(name: str) -> tf.distribute.Strategy:
    """The distribution strategy that a flag names."""
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def check_apart(source: str, validation: str | None) -> None:
    """Refuses to train on the pictures that are to judge."""
    if source.startswith("tfds:"):
        return
    trained = {p.resolve() for p in data.find(source)}
    if validation and (common := trained & {p.resolve() for p in data.find(validation)}):
        raise ValueError(
            f"{len(common)} pictures of --validation are in --data, {min(common).name} for one: "
            "what is trained on cannot judge."
        )


def train() -> None:
    """Trains as the flags say."""
    config = flagged.configured(configs.Config)
    check_apart(_DATA.value, _VALIDATION.value)
    workdir = flagged.workdir_for(config)
    strategy = strategy_of(_STRATEGY.value)
    with strategy.scope():
        tf.keras.utils.set_random_seed(config.seed)
        model = models.build(config.model, **config.arguments)
        model.set_bfloat16(config.bfloat16)
        trainer = Trainer(model, config)
    identity.keep(workdir, config)
    run = Run(trainer, workdir, _DATA.value, _VALIDATION.value)
    if not run.restore():
        trainer.start(_DATA.value)
    run.train()


if __name__ == "__main__":
    app.run(one_line_errors(train))
