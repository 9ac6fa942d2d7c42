"""A training step with a critic: what makes pictures learns from what tells them from real ones."""

from __future__ import annotations

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

PATIENCE = 200  # steps of the model with the mean at a bound, after which collapse is reported
# Of its answers right, averaged: nothing left to learn from, or no better than chance.
SURE, LOST = 0.98, 0.53
MEMORY = 0.95  # of the average, a step
LEAST = 1e-6  # that examples count together, at least: divisors


class Made(NamedTuple):
    """What there is to tell apart: real pictures, others, and how much each of these counts."""

    real: tf.Tensor
    other: tf.Tensor
    latents: tf.Tensor
    counts: tf.Tensor


def accuracy(
    divergence: Divergence, real: tf.Tensor, other: tf.Tensor, counts: tf.Tensor
) -> tf.Tensor:
    """What part of a critic's numbers for real pictures and for others is right, as they count."""
    right = tf.cast(divergence.says_real(real), tf.float32)
    right += 1.0 - tf.cast(divergence.says_real(other), tf.float32)
    return 0.5 * tf.reduce_mean(counts * right) / tf.maximum(tf.reduce_mean(counts), LEAST)


class Watch(tf.Module):
    """How long a critic has been all but always right, or no better than chance.

    Its state is in variables, so that a checkpoint holds it.
    """

    def __init__(self) -> None:
        super().__init__(name="watch")
        self.right = tf.Variable(0.5 * (LOST + SURE), trainable=False)
        self.steps = tf.Variable(0, trainable=False, dtype=tf.int64)

    def __call__(self, accuracy: tf.Tensor, learns: tf.Tensor) -> tf.Tensor:
        """Whether it is collapse, 1 or 0, after a step in which the model learns, or waits."""
        right = MEMORY * self.right + (1.0 - MEMORY) * accuracy
        self.right.assign(right)
        # Before the model moves, a critic that is always right is what a head start is for.
        bound = learns & ((right <= LOST) | (right >= SURE))
        steps = tf.cast(bound, tf.int64) * (self.steps + 1)
        self.steps.assign(steps)
        return tf.cast(steps >= PATIENCE, tf.float32)

    @property
    def news(self) -> str | None:
        """What there is to say of the last step: once, when the patience is over."""
        right = float(self.right)
        if int(self.steps) != PATIENCE:
            return None
        told = f"for {PATIENCE} steps (right in {100.0 * right:.0f} %)"
        if right >= SURE:
            return (
                f"collapse: the critic has been all but always right {told}, and teaches nothing: "
                "lower critic_rate or head_start, or begin again from weights of before."
            )
        return (
            f"collapse, or the end: the critic has been no better than chance {told}: it has "
            "learned nothing (raise critic_rate or head_start), or the model draws all that it "
            "can see (leave it at that)."
        )


class AdversarialTrainer(Trainer):
    """A trainer whose model also learns from a critic, if the config gives it a weight.

    The critic maximizes the bound of a divergence (see `tfc_models.realism.divergences`); the
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
            if config.critic in LEARNED:
                self.critic = BeliefCritic(default_model(config.critic))
                self.critic(tf.zeros([1, side, side, 3]))
            else:
                self.critic = PatchCritic(config.critic_widths)
                self.critic(tf.zeros([1, side, side, 3]), tf.zeros([1, 4, 4, channels]))
        self._build(model, config, of, sorted(set(of)), self.critic)
        if self.critic:
            self.watch = self.checkpoint.watch = Watch()

    def _numbers(self, pictures: tf.Tensor, made: Made, training: bool) -> tf.Tensor:
        """The critic's for each picture, examples × places."""
        if isinstance(self.critic, BeliefCritic):
            return self.critic(pictures, training=training)
        found = self.critic(pictures, made.latents, training=training)
        return tf.reshape(found, [tf.shape(found)[0], -1])

    def _made(self, batch: tf.Tensor) -> tuple[Losses, Made]:
        """Losses of the model but for the critic's, and what it made."""
        raise NotImplementedError

    def train_step(self, batch: tf.Tensor, rates: tf.Tensor) -> Losses:
        """As the base class's, with an eye on the critic."""
        losses = super().train_step(batch, rates)
        if self.critic:
            of_model = [i for i, kind in enumerate(self.groups) if kind != "critic"]
            learns = tf.reduce_any(tf.gather(rates, of_model) > 0.0)
            losses["collapsed"] = self.watch(losses["critic_accuracy"], learns)
        return losses

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
            loss = -bound / tf.maximum(tf.reduce_mean(counts), LEAST)
        report = self._update(tape, loss, tf.float32.max, ["critic"])
        return {
            "critic_loss": loss,
            "critic_accuracy": accuracy(self.divergence, real, other, counts),
            "critic_norm": report["norm"],
            "critic_skipped": report["skipped"],
        }

    def after_step(self, losses: dict[str, float]) -> None:
        """Says so when the critic has long been all but always right, or no better than chance."""
        if losses.get("collapsed") and (news := self.watch.news):
            logging.warning("%s", news)
