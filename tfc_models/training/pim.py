"""Trains the encoders of PIM, or of PIM-bands, on pairs of frames; see training.pim."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfc_models.metrics.pim import LEARNED
from tfc_models.perceptual import BeliefModel, Pim, PimBands, PimBandsConfig, PimConfig
from tfc_models.training import frames, identity
from tfc_models.training.config import PimTraining
from tfc_models.training.crops import DataError
from tfc_models.training.frames import Pairs
from tfc_models.training.loop import Run
from tfc_models.training.overlays import veiled
from tfc_models.training.trainer import Losses, Trainer

VALIDATION_CROPS = 32  # at most; as many as there are pairs
SHIPPED = "shipped"
MODELS = {"pim": (Pim, PimConfig), "pim-bands": (PimBands, PimBandsConfig)}
VEILS = 32  # Seeds from here on draw veils; before it bands draw noise.


def built(config: PimTraining) -> BeliefModel:
    """The model that a config describes, with random weights."""
    model, settings = MODELS[config.model]
    found = model(settings(**config.arguments))
    if isinstance(found, Pim):
        found.speed_up(config.bfloat16, config.window)
    return found


class PimTrainer(Trainer):
    """A model and its optimizer."""

    def __init__(self, model: BeliefModel, config: PimTraining) -> None:
        kinds = ["encoders"] * len(model.trainable_variables)
        self._build(model, config, kinds, ["encoders"])

    def start(self) -> None:
        """Sets the weights that training begins with."""
        if self.config.start:
            learned = LEARNED[self.config.model]
            source = learned.weights if self.config.start == SHIPPED else self.config.start
            adopt(self.model, learned.load(source), source)
        self.start_average()

    def before_step(self, fraction: float) -> None:
        """Nothing changes."""

    def _losses_of(self, batch: tf.Tensor) -> Losses:
        """What is missing of all that a batch can tell, log of its pairs, in nats."""
        # Every step and band draws noise of its own.
        seed = tf.stack([tf.constant(self.config.seed, tf.int64), 64 * self.step])
        bound = tf.reduce_mean(self.model.bound(batch[:, 0], batch[:, 1], seed))
        losses = {"loss": math.log(self.config.batch) - bound, "bound": bound}
        if self.config.order:
            half = batch[::2, 0]  # Every distance takes two pictures, and there are two.
            losses["order"] = self._out_of_order(half, seed + VEILS)
            losses["loss"] += self.config.order * losses["order"]
        return losses

    def _out_of_order(self, pictures: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """By how much, as a logarithm, thicker veils cost too little."""
        costs = [self.model.distance(pictures, veil) for veil in veiled(pictures, seed)]
        thin, thick = (tf.math.log(cost + 1e-9) for cost in costs)
        return tf.reduce_mean(tf.nn.relu(self.config.margin + thin - thick))

    def save_weights(self, path: pathlib.Path) -> None:
        """Writes the averaged weights."""
        self.with_average(lambda: self.model.save_npz(path))


def adopt(model: BeliefModel, other: BeliefModel, source: object) -> None:
    """Takes over the weights of another model of the same networks."""
    settings = dataclasses.asdict(other.settings)
    if "blur" in settings:
        settings["blur"] = model.settings.blur  # No part of the networks.
    if settings != dataclasses.asdict(model.settings):
        raise ValueError(f"{source} has other networks than this run: {other.settings}.")
    for mine, theirs in zip(model.variables, other.variables):
        mine.assign(theirs)


class PimValidation:
    """The bound on crops of pairs that were not trained on, always the same."""

    def __init__(self, model: BeliefModel, pairs: Pairs, side: int) -> None:
        self.count = min(VALIDATION_CROPS, len(pairs))
        crops = frames.crops_of_pairs(pairs, side, seed=0)
        self._crops = np.stack(list(crops.take(self.count).as_numpy_iterator()))
        self._bound = tf.function(model.bound, autograph=False)

    def run(self) -> float:
        """In nats; at most the log of `count`."""
        seed = tf.constant([1, 1], tf.int64)
        return float(tf.reduce_mean(self._bound(self._crops[:, 0], self._crops[:, 1], seed)))


class PimRun(Run):
    """A run on pairs of frames; see `Run`."""

    def __init__(
        self, trainer: PimTrainer, workdir: pathlib.Path, pairs: Pairs, validation: Pairs
    ) -> None:
        self._pairs = pairs
        super().__init__(trainer, workdir, "pairs", validation)

    def _validation_of(self, source: Pairs) -> PimValidation:
        return PimValidation(self.trainer.model, source, self.config.crop)

    def _batches(self) -> Iterator[Any]:
        logging.info("batches of %d of %d pairs", self.config.batch, len(self._pairs))
        first = self.trainer.steps_taken * self.config.batch
        crops = frames.crops_of_pairs(self._pairs, self.config.crop, self.config.seed, first)
        return iter(crops.batch(self.config.batch, drop_remainder=True).prefetch(4))

    def _validate(self) -> None:
        if not self._validation:
            return
        bound, step = self.trainer.with_average(self._validation.run), self.trainer.steps_taken
        self._to_table(["bound"], [[bound]])
        tf.summary.scalar("validation/bound", bound, step=step)
        most = math.log(self._validation.count)
        logging.info("validation: a bound of %.4f nats, of at most %.4f", bound, most)


def check_apart(pairs: Pairs, validation: Pairs, sources: tuple[str, str]) -> None:
    """Refuses to train on the frames, or the videos, that are to judge."""
    trained, judging = (
        {path.resolve() for pair in both for path in pair} | {*frames.videos_of(source)}
        for both, source in zip((pairs, validation), sources)
    )
    if common := trained & judging:
        raise DataError(
            f"{len(common)} files of --validation are in --data, {min(common).name} for one: "
            "what is trained on cannot judge."
        )


def train(
    config: PimTraining, workdir: pathlib.Path, source: str, validation: str | None = None
) -> None:
    """Trains from where the last run in the work folder ended.

    Args:
        config: of the run.
        workdir: for checkpoints, weights and logs.
        source: a table of pairs (pairs.csv), a folder with a folder of frames for every scene,
            or video:GLOB, whose pairs are taken out to the work folder first.
        validation: pairs of other scenes, likewise, or None.
    """
    if config.model not in MODELS:
        raise ValueError(f"this trains {' and '.join(MODELS)}; the config is for {config.model}.")
    identity.check(workdir, config)
    tf.keras.utils.set_random_seed(config.seed)
    trainer = PimTrainer(built(config), config)
    limits = frames.Limits(config.gap, config.motion, config.every, config.side)

    def found(given: str, folder: str) -> Pairs:
        return frames.of_size(frames.find_pairs(given, workdir / folder, limits), config.crop)

    pairs = found(source, "pairs")
    if len(pairs) < config.batch:
        raise DataError(
            f"{len(pairs)} pairs are fewer than a batch of {config.batch}, which are told apart: "
            "give more, or set batch."
        )
    judging = found(validation, "validation_pairs") if validation else []
    check_apart(pairs, judging, (source, validation or ""))
    PimRun(trainer, workdir, pairs, judging).begin(trainer.start)
