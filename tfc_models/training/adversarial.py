"""Training with a critic that learns to distinguish decoded images from real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from absl import logging

from tfc_models.metrics.pim import LEARNED, default_model
from tfc_models.realism import (
    BeliefCritic,
    Divergence,
    PatchCritic,
    divergence_named,
)
from tfc_models.training.config import AdversarialConfig
from tfc_models.training.trainer import Losses, Trainer

COLLAPSE_STEPS = 200  # consecutive steps with an extreme accuracy after which it is reported
# Average accuracies at which the critic gives no useful gradient, and is at chance.
SATURATED, CHANCE = 0.98, 0.53
ACCURACY_DECAY = 0.95  # of the moving average of the accuracy
MIN_WEIGHT = 1e-6  # lower bound of mean weights in divisors


class CriticBatch(NamedTuple):
    """Inputs of a critic.

    Attributes:
        real: original images.
        decoded: decoded images.
        latents: latents that the images were decoded from.
        weights: weight of each example in the losses.
    """

    real: tf.Tensor
    decoded: tf.Tensor
    latents: tf.Tensor
    weights: tf.Tensor


def accuracy(
    divergence: Divergence, real: tf.Tensor, decoded: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Returns a critic's weighted accuracy, given its outputs for real and decoded images."""
    correct = tf.cast(divergence.says_real(real), tf.float32)
    correct += 1.0 - tf.cast(divergence.says_real(decoded), tf.float32)
    weight = tf.maximum(tf.reduce_mean(weights), MIN_WEIGHT)
    return 0.5 * tf.reduce_mean(weights * correct) / weight


class CollapseMonitor(tf.Module):
    """Detects a critic that has long been nearly always right, or no better than chance.

    The state is in variables, which are part of the checkpoint. Their attribute names, `right` and
    `steps`, are names in checkpoints and must not change.
    """

    def __init__(self) -> None:
        super().__init__(name="collapse_monitor")
        self.right = tf.Variable(0.5 * (CHANCE + SATURATED), trainable=False)
        self.steps = tf.Variable(0, trainable=False, dtype=tf.int64)

    def __call__(self, accuracy: tf.Tensor, model_learns: tf.Tensor) -> tf.Tensor:
        """Updates the state after a step; returns 1 for collapse and 0 otherwise.

        Args:
            accuracy: the critic's in this step.
            model_learns: whether the model was trained in this step.
        """
        right = ACCURACY_DECAY * self.right + (1.0 - ACCURACY_DECAY) * accuracy
        self.right.assign(right)
        # During the critic's head start, a high accuracy is intended.
        extreme = model_learns & ((right <= CHANCE) | (right >= SATURATED))
        steps = tf.cast(extreme, tf.int64) * (self.steps + 1)
        self.steps.assign(steps)
        return tf.cast(steps >= COLLAPSE_STEPS, tf.float32)

    @property
    def message(self) -> str | None:
        """Warning about a collapse in the step in which it is detected, otherwise None."""
        right = float(self.right)
        if int(self.steps) != COLLAPSE_STEPS:
            return None
        duration = f"for {COLLAPSE_STEPS} steps (accuracy {100.0 * right:.0f} %)"
        if right >= SATURATED:
            return (
                f"collapse: the critic has been nearly always right {duration} and gives no useful "
                "gradient: lower critic_rate or head_start, or restart from earlier weights."
            )
        return (
            f"collapse or convergence: the critic has been no better than chance {duration}. "
            "Either it has learned nothing (raise critic_rate or head_start), or decoded images "
            "have become indistinguishable to it (stop the run)."
        )


class AdversarialTrainer(Trainer):
    """Trainer with a critic, if the config gives the adversarial loss a weight.

    The critic maximizes the bound of a divergence (see `tfc_models.realism.divergences`). The model
    maximizes the critic's activation for decoded images; for "gan", that is the non-saturating
    loss. Both are updated once per batch.
    """

    config: AdversarialConfig
    critic: PatchCritic | BeliefCritic | None = None

    def _build_adversarial(
        self,
        model: Any,
        config: AdversarialConfig,
        variable_groups: Sequence[str],
        latent_channels: int,
    ) -> None:
        """Creates the critic and everything that `_build` creates. All groups are trained."""
        self.divergence = divergence_named(config.divergence)
        if config.adversarial:
            side = 64
            if config.critic in LEARNED:
                self.critic = BeliefCritic(default_model(config.critic))
                self.critic(tf.zeros([1, side, side, 3]))
            else:
                self.critic = PatchCritic(config.critic_widths)
                self.critic(tf.zeros([1, side, side, 3]), tf.zeros([1, 4, 4, latent_channels]))
        self._build(model, config, variable_groups, sorted(set(variable_groups)), self.critic)
        if self.critic:
            # The attribute `watch` is a name in checkpoints.
            self.collapse_monitor = self.checkpoint.watch = CollapseMonitor()

    def _critic_outputs(self, images: tf.Tensor, latents: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns the critic's outputs for images, examples × positions."""
        if isinstance(self.critic, BeliefCritic):
            return self.critic(images, training=training)
        assert self.critic is not None
        outputs = self.critic(images, latents, training=training)
        return tf.reshape(outputs, [tf.shape(outputs)[0], -1])

    def _losses_and_critic_batch(self, batch: tf.Tensor) -> tuple[Losses, CriticBatch]:
        """Returns the model's losses without the adversarial loss, and the critic's inputs."""
        raise NotImplementedError

    def train_step(self, batch: tf.Tensor, rates: tf.Tensor) -> Losses:
        """Takes a step like the base class, and updates the collapse monitor."""
        losses = super().train_step(batch, rates)
        if self.critic:
            model_groups = [i for i, group in enumerate(self.groups) if group != "critic"]
            model_learns = tf.reduce_any(tf.gather(rates, model_groups) > 0.0)
            losses["collapsed"] = self.collapse_monitor(losses["critic_accuracy"], model_learns)
        return losses

    def _replica_step(self, batch: tf.Tensor, limit: tf.Tensor) -> Losses:
        model_groups = [group for group in self.groups if group != "critic"]
        if self.critic and self.config.divergence != "gan":
            # These losses may have either sign, so a multiple of the mean is no spike limit.
            limit = tf.float32.max
        with tf.GradientTape() as tape:
            losses, inputs = self._losses_and_critic_batch(batch)
            if self.critic:
                outputs = self._critic_outputs(inputs.decoded, inputs.latents, False)
                activation = self.divergence.activation(outputs)
                adversarial = -tf.reduce_mean(inputs.weights[:, None] * activation)
                losses["adversarial"] = adversarial
                losses["loss"] += self.config.adversarial * adversarial
        losses = {**losses, **self._update(tape, losses["loss"], limit, model_groups)}
        return {**losses, **self._critic_step(inputs)} if self.critic else losses

    def _critic_step(self, inputs: CriticBatch) -> Losses:
        """Updates the critic; returns its losses."""
        decoded, weights = tf.stop_gradient(inputs.decoded), inputs.weights[:, None]
        with tf.GradientTape() as tape:
            # A single call, so that spectral normalization takes one power iteration.
            images = tf.concat([inputs.real, decoded], 0)
            latents = tf.concat([inputs.latents, inputs.latents], 0)
            real, fake = tf.split(self._critic_outputs(images, latents, True), 2)
            bound = tf.reduce_mean(weights * self.divergence.activation(real))
            bound -= tf.reduce_mean(weights * self.divergence.conjugate(fake))
            loss = -bound / tf.maximum(tf.reduce_mean(weights), MIN_WEIGHT)
        update = self._update(tape, loss, tf.float32.max, ["critic"])
        return {
            "critic_loss": loss,
            "critic_accuracy": accuracy(self.divergence, real, fake, weights),
            "critic_norm": update["norm"],
            "critic_skipped": update["skipped"],
        }

    def after_step(self, losses: dict[str, float]) -> None:
        """Logs a warning when the critic's accuracy has collapsed."""
        if losses.get("collapsed") and (message := self.collapse_monitor.message):
            logging.warning("%s", message)
