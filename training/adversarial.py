"""A training step with a critic: what makes pictures learns from what tells them from real ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
from absl import logging

from tfc_models.metrics.perceptual import shipped
from tfc_models.perceptual import BeliefCritic, PatchCritic, divergence_named
from training.config import AdversarialConfig
from training.trainer import Losses, Trainer

PATIENCE = 200  # steps with the mean at a bound, after which a critic has collapsed
# Of its answers right, averaged: nothing left to learn from, or no better than chance.
SURE, LOST = 0.98, 0.53
MEMORY = 0.95  # of the average, a step


class Made(NamedTuple):
    """What there is to tell apart: real pictures, others, and how much each of these counts."""

    real: tf.Tensor
    other: tf.Tensor
    latents: tf.Tensor
    counts: tf.Tensor


class AdversarialTrainer(Trainer):
    """A trainer whose model also learns from a critic, if the config gives it a weight.

    The critic maximizes the bound of a divergence (see `tfc_models.perceptual.divergences`); the
    model maximizes what the critic's activation says of its pictures, which for "gan" is the
    loss that does not saturate. Each takes one step with every batch.
    """

    critic: PatchCritic | BeliefCritic | None = None

    def _build_adversarial(
        self, model: Any, config: AdversarialConfig, of: list[str], channels: int
    ) -> None:
        """As `_build`, of all kinds, with a critic that sees latents of so many channels."""
        self.divergence = divergence_named(config.divergence)
        if config.adversarial:
            side = 64
            if config.critic == "pim":
                self.critic = BeliefCritic(shipped())
                self.critic(tf.zeros([1, side, side, 3]))
            else:
                self.critic = PatchCritic(config.critic_widths)
                self.critic(tf.zeros([1, side, side, 3]), tf.zeros([1, 4, 4, channels]))
        self._at_bound, self._right = 0, 0.5 * (LOST + SURE)
        self._build(model, config, of, sorted(set(of)), self.critic)

    def _numbers(self, pictures: tf.Tensor, made: Made, training: bool) -> tf.Tensor:
        """The critic's for each picture, examples × places."""
        if isinstance(self.critic, BeliefCritic):
            return self.critic(pictures, training=training)
        found = self.critic(pictures, made.latents, training=training)
        return tf.reshape(found, [tf.shape(found)[0], -1])

    def _made(self, batch: tf.Tensor) -> tuple[Losses, Made]:
        """Losses of the model but for the critic's, and what it made."""
        raise NotImplementedError

    def _replica_step(self, batch: tf.Tensor, limit: tf.Tensor) -> Losses:
        of_model = [kind for kind in self.groups if kind != "critic"]
        if self.critic and self.config.divergence != "gan":
            limit = tf.float32.max  # Losses may be of any sign: many times the mean says nothing.
        with tf.GradientTape() as tape:
            losses, made = self._made(batch)
            if self.critic:
                told = self.divergence.activation(self._numbers(made.other, made, False))
                adversarial = -tf.reduce_mean(made.counts[:, None] * told)
                losses["adversarial"] = adversarial
                losses["loss"] += self.config.adversarial * adversarial
        losses = {**losses, **self._update(tape, losses["loss"], limit, of_model)}
        return {**losses, **self._critic_step(made)} if self.critic else losses

    def _critic_step(self, made: Made) -> Losses:
        others, counts = tf.stop_gradient(made.other), made.counts[:, None]
        with tf.GradientTape() as tape:
            # One call, so that power iteration takes one round, and both are seen alike.
            both = made._replace(latents=tf.concat([made.latents, made.latents], 0))
            numbers = self._numbers(tf.concat([made.real, others], 0), both, True)
            real, other = tf.split(numbers, 2)
            bound = tf.reduce_mean(counts * self.divergence.activation(real))
            bound -= tf.reduce_mean(counts * self.divergence.conjugate(other))
            loss = -bound / tf.maximum(tf.reduce_mean(counts), 1e-6)
        report = self._update(tape, loss, tf.float32.max, ["critic"])
        threshold = self.divergence.best(tf.constant(1.0))
        right = tf.reduce_mean(tf.cast(real > threshold, tf.float32))
        right += tf.reduce_mean(tf.cast(other < threshold, tf.float32))
        return {
            "critic_loss": loss,
            "critic_accuracy": 0.5 * right,
            "critic_norm": report["norm"],
        }

    def after_step(self, losses: dict[str, float]) -> None:
        """Says so when the critic has long been all but always right, or no better than chance."""
        if "critic_accuracy" not in losses:
            return
        self._right = MEMORY * self._right + (1.0 - MEMORY) * losses["critic_accuracy"]
        self._at_bound = self._at_bound + 1 if not LOST < self._right < SURE else 0
        if self._at_bound == PATIENCE:
            what = "all but always right" if self._right >= SURE else "no better than chance"
            logging.warning(
                "collapse: the critic has been %s for %d steps (right in %.0f %%, loss %.3f): "
                "change the weight adversarial, the rates, or begin again from weights of before.",
                *(what, PATIENCE, 100.0 * self._right, losses["critic_loss"]),
            )
