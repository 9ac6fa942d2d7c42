"""Training on images: distribution strategies, disjoint data, and starting or resuming."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import tensorflow as tf

from tfc_models.training import data, run_identity
from tfc_models.training.config import CodingConfig
from tfc_models.training.loop import Run
from tfc_models.training.trainer import Trainer

STRATEGIES = ("none", "mirrored", "multiworker")


def build_strategy(name: str) -> tf.distribute.Strategy:
    """Returns the distribution strategy of a name in STRATEGIES."""
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def check_disjoint(source: str, validation: str | None) -> None:
    """Raises ValueError if training and validation data have files in common."""
    if source.startswith("tfds:"):
        return
    training_files = {p.resolve() for p in data.find(source)}
    validation_files = {p.resolve() for p in data.find(validation)} if validation else set()
    if common := training_files & validation_files:
        raise ValueError(
            f"{len(common)} images of --validation are also in --data, e.g. {min(common).name}: "
            "validate on other images."
        )


def train(
    config: CodingConfig,
    workdir: pathlib.Path,
    source: str,
    validation: str | None,
    strategy: str,
    build: Callable[[], Trainer],
    run_class: type[Run] = Run,
) -> None:
    """Trains from the last checkpoint in the work folder, or from the start.

    Args:
        config: settings of the run.
        workdir: folder for checkpoints, weights and logs.
        source: training images (see tfc_models.training.data).
        validation: folder of whole images, or None.
        strategy: one of STRATEGIES.
        build: returns the trainer; called in the scope of the strategy.
        run_class: class of the run.
    """
    check_disjoint(source, validation)
    run_identity.check(workdir, config)
    with build_strategy(strategy).scope():
        tf.keras.utils.set_random_seed(config.seed)
        trainer = build()
    run = run_class(trainer, workdir, source, validation)
    run.begin(lambda: trainer.start(source))
