"""Training of decoders that replace the synthesis of a fixed model; see training.decoder.

The model's analysis transform and entropy model are not trained, so its files do not change.
"""

from __future__ import annotations

import pathlib

import tensorflow as tf

from tfc_models.decoders import ReplacementDecoder, decoder_file
from tfc_models.entropy.quantization import Noise
from tfc_models.models import CompressionModel
from tfc_models.models.distortion import distortions, parsed, prepare
from tfc_models.training import image_run
from tfc_models.training.decoder_config import DecoderTraining
from tfc_models.training.fixed_model import (
    DecoderRun,
    DecoderValidation,
    base_of,
    latents_at,
    stratified,
    weights_of_rates,
)
from tfc_models.training.trainer import Losses, Trainer


def new_decoder(base: CompressionModel, digest: str, start: str = "") -> ReplacementDecoder:
    """Returns a decoder with the widths and weights of a file, or with those of the base.

    Args:
        base: the fixed model, not frozen.
        digest: digest of its frozen weights.
        start: path of a decoder file; empty for the base's synthesis.
    """
    if not start:
        return ReplacementDecoder(base)
    weights = decoder_file.read(start)
    decoder_file.check(weights, base.name, digest)
    decoder = ReplacementDecoder(base, **weights.config)
    decoder.assign_state(weights.state)
    return decoder


class DecoderTrainer(Trainer):
    """Trainer of a replacement decoder.

    Args:
        decoder: the decoder, with its base model and the initial weights.
        digest: digest of the base model's frozen weights.
        config: settings of the run.
    """

    config: DecoderTraining

    def __init__(self, decoder: ReplacementDecoder, digest: str, config: DecoderTraining) -> None:
        self._terms, self._digest = parsed(config.distortion), digest
        prepare(self._terms)
        self._noise = Noise()
        self._build(decoder, config, decoder.variable_groups(), list(config.schedule["peaks"]))
        # Resumed runs continue the same random sequence.
        self.checkpoint.noise = self._noise

    def start(self, source: str) -> None:
        """Keeps the decoder's initial weights."""
        self.reset_average()

    def before_step(self, fraction: float) -> None:
        """Does nothing: the base model is fixed."""

    def _sample_rates(self, count: tf.Tensor) -> tf.Tensor:
        """Draws a quality for each example of a batch, stratified over the config's qualities."""
        position = stratified(self._noise(tf.stack([count]), 0.0, 1.0))
        if fixed := self.config.fixed_qualities:
            index = tf.cast(position * len(fixed), tf.int32)
            # Rounding to float32 may give a position of 1.
            return tf.gather(tf.constant(fixed, tf.float32), tf.minimum(index, len(fixed) - 1))
        first, last = self.config.qualities
        return first + (last - first) * position

    def _losses(self, batch: tf.Tensor) -> Losses:
        """Returns the distortion weighted by rate, and each metric in it."""
        base, images = self.model.base, tf.cast(batch, tf.float32)
        rate = self._sample_rates(tf.shape(images)[0])
        weight = weights_of_rates(base, rate)
        latents, rate = latents_at(base, images, rate)
        decoded = self.model.to_images(latents, rate)
        distortion, parts = distortions(self._terms, images, decoded)
        losses = {"loss": tf.reduce_mean(weight * distortion)}
        losses.update({name: tf.reduce_mean(values) for name, values in parts.items()})
        return losses

    def save_weights(self, path: pathlib.Path) -> None:
        """Writes the averaged weights as a decoder file."""
        self.with_average(lambda: decoder_file.save(self.model, self._digest, path))


class ReplacementRun(DecoderRun):
    """A run that trains a replacement decoder; see `Run`."""

    config: DecoderTraining

    def _build_validation(self, source: str) -> DecoderValidation:
        terms, rates = list(parsed(self.config.distortion)), self.config.validation_rates
        return DecoderValidation(self.trainer.model, source, terms, rates)


def build_trainer(config: DecoderTraining) -> DecoderTrainer:
    """Returns the trainer of a config, with the initial weights."""
    base, digest = base_of(config)
    return DecoderTrainer(new_decoder(base, digest, config.start), digest, config)


def train(
    config: DecoderTraining,
    workdir: pathlib.Path,
    source: str,
    validation: str | None = None,
    strategy: str = "none",
) -> None:
    """Trains a replacement decoder; see `image_run.train`."""

    def build() -> DecoderTrainer:
        return build_trainer(config)

    image_run.train(config, workdir, source, validation, strategy, build, ReplacementRun)
