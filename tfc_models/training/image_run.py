"""Runs on pictures: strategies, disjoint training and validation data, and the start."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import tensorflow as tf

from tfc_models.training import data, identity
from tfc_models.training.config import CodingConfig
from tfc_models.training.loop import Run
from tfc_models.training.trainer import Trainer

STRATEGIES = ("none", "mirrored", "multiworker")


def strategy_of(name: str) -> tf.distribute.Strategy:
    """Returns the distribution strategy of a name in STRATEGIES."""
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def check_apart(source: str, validation: str | None) -> None:
    """Refuses to train on the pictures of the validation."""
    if source.startswith("tfds:"):
        return
    trained = {p.resolve() for p in data.find(source)}
    judging = {p.resolve() for p in data.find(validation)} if validation else set()
    if common := trained & judging:
        raise ValueError(
            f"{len(common)} pictures of --validation are in --data, {min(common).name} for one: "
            "what is trained on cannot judge."
        )


def train(
    config: CodingConfig,
    workdir: pathlib.Path,
    source: str,
    validation: str | None,
    strategy: str,
    build: Callable[[], Trainer],
    kind: type[Run] = Run,
) -> None:
    """Trains from where the last run in the work folder ended.

    Args:
        config: of the run.
        workdir: for checkpoints, weights and logs.
        source: training pictures (see tfc_models.training.data).
        validation: a folder of whole pictures, or None.
        strategy: one of STRATEGIES.
        build: returns the trainer, in the scope of the strategy.
        kind: class of the run.
    """
    check_apart(source, validation)
    identity.check(workdir, config)
    with strategy_of(strategy).scope():
        tf.keras.utils.set_random_seed(config.seed)
        trainer = build()
    run = kind(trainer, workdir, source, validation)
    run.begin(lambda: trainer.start(source))
