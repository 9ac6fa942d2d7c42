"""Training of the encoders of PIM and PIM-bands on pairs of frames; see training.pim."""

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
from tfc_models.training import frames, run_identity
from tfc_models.training.config import PimTraining
from tfc_models.training.crops import DataError
from tfc_models.training.fog_overlays import apply_overlays
from tfc_models.training.frames import Pairs
from tfc_models.training.loop import Run
from tfc_models.training.trainer import Losses, Trainer

MAX_VALIDATION_CROPS = 32
SHIPPED = "shipped"  # value of `start` for the weights in the package
MODELS = {"pim": (Pim, PimConfig), "pim-bands": (PimBands, PimBandsConfig)}
OVERLAY_SEED = 32  # offset of the overlays' seeds; the bands' noise uses smaller offsets


def build_model(config: PimTraining) -> BeliefModel:
    """Returns the model of a config with random weights."""
    model_class, settings = MODELS[config.model]
    model = model_class(settings(**config.arguments))
    if isinstance(model, Pim):
        model.speed_up(config.bfloat16, config.window)
    return model


class PimTrainer(Trainer):
    """Trainer of a PIM or PIM-bands encoder."""

    config: PimTraining

    def __init__(self, model: BeliefModel, config: PimTraining) -> None:
        groups = ["encoders"] * len(model.trainable_variables)
        self._build(model, config, groups, ["encoders"])

    def start(self, source: str = "") -> None:
        """Loads the initial weights that the config names, if any."""
        if self.config.start:
            learned = LEARNED[self.config.model]
            weights = learned.weights if self.config.start == SHIPPED else self.config.start
            copy_weights(self.model, learned.load(weights), weights)
        self.reset_average()

    def before_step(self, fraction: float) -> None:
        """Does nothing: these models are not annealed."""

    def _losses(self, batch: tf.Tensor) -> Losses:
        """Returns the log of the batch size minus the bound on the mutual information, in nats.

        The log of the batch size is the largest possible bound. `order` adds a ranking loss.
        """
        # Every step and band draws different noise.
        seed = tf.stack([tf.constant(self.config.seed, tf.int64), 64 * self.step])
        bound = tf.reduce_mean(self.model.bound(batch[:, 0], batch[:, 1], seed))
        losses = {"loss": math.log(self.config.batch) - bound, "bound": bound}
        if self.config.order:
            # Half of the images, as the ranking loss evaluates two distances per image.
            images = batch[::2, 0]
            losses["order"] = self._ranking_loss(images, seed + OVERLAY_SEED)
            losses["loss"] += self.config.order * losses["order"]
        return losses

    def _ranking_loss(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the hinge loss on log distances of images from the same under two overlays.

        The stronger overlay should be farther by at least `margin`.
        """
        distances = [self.model.distance(images, o) for o in apply_overlays(images, seed)]
        weak, strong = (tf.math.log(distance + 1e-9) for distance in distances)
        return tf.reduce_mean(tf.nn.relu(self.config.margin + weak - strong))

    def save_weights(self, path: pathlib.Path) -> None:
        """Writes the averaged weights."""
        self.with_average(lambda: self.model.save_npz(path))


def copy_weights(model: BeliefModel, other: BeliefModel, source: object) -> None:
    """Copies the weights of a model with the same networks.

    Args:
        model: the model to change.
        other: the model to copy from.
        source: where `other` was loaded from, for the error message.

    Raises:
        ValueError: the networks differ.
    """
    settings = dataclasses.asdict(other.settings)
    if "blur" in settings:
        settings["blur"] = model.settings.blur  # It is not part of the networks.
    if settings != dataclasses.asdict(model.settings):
        raise ValueError(f"{source} has other networks than this run: {other.settings}.")
    for variable, value in zip(model.variables, other.variables):
        variable.assign(value)


class PimValidation:
    """The bound on fixed crops of pairs that are not trained on.

    Args:
        model: PIM or PIM-bands.
        pairs: validation pairs.
        side: of the crops.

    Attributes:
        count: number of crops.
    """

    def __init__(self, model: BeliefModel, pairs: Pairs, side: int) -> None:
        self.count = min(MAX_VALIDATION_CROPS, len(pairs))
        crops = frames.crops_of_pairs(pairs, side, seed=0)
        self._crops = np.stack(list(crops.take(self.count).as_numpy_iterator()))
        self._bound = tf.function(model.bound, autograph=False)

    def run(self) -> float:
        """Returns the bound in nats; the log of `count` at most."""
        seed = tf.constant([1, 1], tf.int64)
        return float(tf.reduce_mean(self._bound(self._crops[:, 0], self._crops[:, 1], seed)))


class PimRun(Run):
    """A run that trains on pairs of frames; see `Run`."""

    config: PimTraining

    def __init__(
        self, trainer: PimTrainer, workdir: pathlib.Path, pairs: Pairs, validation: Pairs
    ) -> None:
        self._pairs = pairs
        super().__init__(trainer, workdir, "pairs", validation)

    def _build_validation(self, source: Pairs) -> PimValidation:
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
        self._append_rows(["bound"], [[bound]])
        tf.summary.scalar("validation/bound", bound, step=step)
        maximum = math.log(self._validation.count)
        logging.info("validation: bound %.4f nats, maximum %.4f", bound, maximum)


def check_disjoint(pairs: Pairs, validation: Pairs, sources: tuple[str, str]) -> None:
    """Raises DataError if training and validation data share frames or videos.

    Args:
        pairs: for training.
        validation: pairs for validation.
        sources: --data and --validation, which may name videos.
    """
    training_files, validation_files = (
        {path.resolve() for pair in both for path in pair} | {*frames.videos_of(source)}
        for both, source in zip((pairs, validation), sources)
    )
    if common := training_files & validation_files:
        raise DataError(
            f"{len(common)} files of --validation are also in --data, e.g. {min(common).name}: "
            "validate on other scenes."
        )


def train(
    config: PimTraining, workdir: pathlib.Path, source: str, validation: str | None = None
) -> None:
    """Trains from the last checkpoint in the work folder, or from the start.

    Args:
        config: settings of the run.
        workdir: folder for checkpoints, weights and logs.
        source: a table of pairs (pairs.csv), a folder with a folder of frames for each scene, or
            video:GLOB, whose pairs are first extracted to the work folder.
        validation: pairs of other scenes in one of these forms, or None.
    """
    if config.model not in MODELS:
        raise ValueError(f"model must be {' or '.join(MODELS)}; got {config.model}.")
    run_identity.check(workdir, config)
    tf.keras.utils.set_random_seed(config.seed)
    trainer = PimTrainer(build_model(config), config)
    limits = frames.Limits(config.gap, config.motion, config.every, config.side)

    def usable_pairs(source: str, folder: str) -> Pairs:
        pairs = frames.find_pairs(source, workdir / folder, limits)
        return frames.with_equal_sizes(pairs, config.crop)

    pairs = usable_pairs(source, "pairs")
    if len(pairs) < config.batch:
        raise DataError(
            f"{len(pairs)} pairs are fewer than a batch of {config.batch}, in which every pair "
            "must be different: give more pairs, or set batch."
        )
    validation_pairs = usable_pairs(validation, "validation_pairs") if validation else []
    check_disjoint(pairs, validation_pairs, (source, validation or ""))
    PimRun(trainer, workdir, pairs, validation_pairs).begin(trainer.start)
