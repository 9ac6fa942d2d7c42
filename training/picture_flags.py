"""The flags of programs that train on pictures, and what they mean."""

from __future__ import annotations

import pathlib

import tensorflow as tf
from absl import flags

from training import data
from training.run import Run
from training.trainer import Trainer

DATA = flags.DEFINE_string(
    "data", None, "pictures: a folder, a glob, or tfds:NAME[:SPLIT]", required=True
)
VALIDATION = flags.DEFINE_string("validation", None, "folder of whole pictures, not of --data")
STRATEGY = flags.DEFINE_enum(
    "strategy",
    "none",
    ["none", "mirrored", "multiworker"],
    "several devices, or workers (TF_CONFIG)",
)


def strategy() -> tf.distribute.Strategy:
    """The distribution strategy of the flags."""
    if STRATEGY.value == "mirrored":
        return tf.distribute.MirroredStrategy()
    if STRATEGY.value == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def check_apart() -> None:
    """Refuses to train on the pictures that are to judge."""
    if DATA.value.startswith("tfds:"):
        return
    trained = {p.resolve() for p in data.find(DATA.value)}
    judging = {p.resolve() for p in data.find(VALIDATION.value)} if VALIDATION.value else set()
    if common := trained & judging:
        raise ValueError(
            f"{len(common)} pictures of --validation are in --data, {min(common).name} for one: "
            "what is trained on cannot judge."
        )


def train(kind: type[Run], trainer: Trainer, workdir: pathlib.Path) -> None:
    """Trains on the images of the flags, from where the last run in the work folder ended."""
    run = kind(trainer, workdir, DATA.value, VALIDATION.value)
    run.begin(lambda: trainer.start(DATA.value))
