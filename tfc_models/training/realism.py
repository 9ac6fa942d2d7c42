"""Training of realism decoders for the files of a fixed model; see training.realism.

The model's analysis transform and entropy model are not trained, so its files do not change.
"""

from __future__ import annotations

import math
import pathlib

import tensorflow as tf

from tfc_models.entropy.quantization import Noise
from tfc_models.models.distortion import distortions, parsed, prepare
from tfc_models.realism import RealismDecoder, decoder_file
from tfc_models.training import image_run
from tfc_models.training.adversarial import AdversarialTrainer, CriticBatch
from tfc_models.training.config import MAX_OFFSET, SCALE_RANGE, RealismTraining
from tfc_models.training.fixed_model import (
    DecoderRun,
    DecoderValidation,
    base_of,
    latents_at,
    stratified,
    weights_of_rates,
)
from tfc_models.training.trainer import Losses


def randomly_cropped_and_scaled(noise: Noise, *batches: tf.Tensor) -> list[tf.Tensor]:
    """Returns batches of equal size, cropped at one random offset and scaled by one random factor.

    Feature metrics are insensitive to some patterns at the phase and scale of their strides. With
    a fixed alignment to the decoder's own strides, the decoder would learn to produce such
    patterns: grids and weaves. (For metrics: Kettunen, Härkönen, Lehtinen, "E-LPIPS: Robust
    Perceptual Image Similarity via Random Transformation Ensembles", 2019.)
    """
    corner = tf.cast(noise(tf.constant([2]), 0.0, float(MAX_OFFSET)), tf.int32)
    # Rounding to float32 may give MAX_OFFSET itself.
    top, left = tf.unstack(tf.minimum(corner, MAX_OFFSET - 1))
    size = tf.shape(batches[0])[1:3] - (MAX_OFFSET - 1)
    log_scale = noise(tf.constant([1]), math.log(SCALE_RANGE[0]), math.log(SCALE_RANGE[1]))
    scale = tf.exp(log_scale[0])
    scaled = tf.cast(tf.round(scale * tf.cast(size, tf.float32)), tf.int32)
    cropped = [b[:, top : top + size[0], left : left + size[1]] for b in batches]
    method = tf.image.ResizeMethod.BICUBIC
    return [tf.image.resize(b, scaled, method, antialias=True) for b in cropped]


def periodic_energy(maps: tf.Tensor, period: int = 8, repeats: int = 8) -> tf.Tensor:
    """Returns the mean square of the periodic component of maps, for each example.

    The maps are divided into squares of `repeats` × `repeats` periods (fewer in small maps). The
    periodic component is the mean over the periods of a square, for each position within a period,
    minus the mean over the square. It contains 1 / repeats² of the energy of white noise, and all
    of the energy of patterns at fixed phases of the decoder's upsampling.
    """
    repeats = min(repeats, maps.shape[1] // period, maps.shape[2] // period)
    side = period * repeats
    rows, columns = maps.shape[1] // side, maps.shape[2] // side
    maps = maps[:, : rows * side, : columns * side]
    shape = [-1, rows, repeats, period, columns, repeats, period, maps.shape[3]]
    phases = tf.reduce_mean(tf.reshape(maps, shape), [2, 5])
    phases -= tf.reduce_mean(phases, [2, 4], keepdims=True)
    return tf.reduce_mean(tf.square(phases), [1, 2, 3, 4, 5])


class RealismTrainer(AdversarialTrainer):
    """Trainer of a realism decoder with an optional critic.

    Args:
        decoder: the realism decoder, with its base model.
        digest: digest of the base model's frozen weights.
        config: settings of the run.
    """

    config: RealismTraining

    def __init__(self, decoder: RealismDecoder, digest: str, config: RealismTraining) -> None:
        self._terms, self._digest = parsed(config.perceptual), digest
        prepare(self._terms)
        groups = ["model"] * len(decoder.trainable_variables)
        self._noise = Noise()
        self._build_adversarial(decoder, config, groups, decoder.base.latent_channels)
        # Resumed runs continue the same random sequence.
        self.checkpoint.noise = self._noise

    def start(self, source: str) -> None:
        """Loads the initial weights from the decoder file that the config names, if any."""
        if self.config.start:
            decoder = decoder_file.read(self.config.start)
            decoder_file.check(decoder, self.model.base.name, self._digest)
            self.model.assign_state(decoder.state)
        self.reset_average()

    def before_step(self, fraction: float) -> None:
        """Does nothing: the base model is fixed."""

    def _sample_rate_and_realism(self, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws a quality and a realism for each example of a batch.

        Qualities are stratified over their range. Realism is 1 with probability 1/2, and otherwise
        uniform between 0 and 1.
        """
        config = self.config
        first, last = config.qualities
        within, choice, amount = tf.unstack(self._noise(tf.stack([3, count]), 0.0, 1.0))
        rate = first + (last - first) * stratified(within)
        if config.realism:
            return rate, tf.fill([count], config.realism)
        return rate, tf.where(choice < 0.5, 1.0, amount)

    def _losses_and_critic_batch(self, batch: tf.Tensor) -> tuple[Losses, CriticBatch]:
        """Returns γ · squared error + realism · (perceptual distance + adversarial loss).

        `periodic` adds a penalty on periodic patterns in the output of the residual blocks. An
        example has the square root of its rate's lambda as weight, so that a given relative error
        has the same weight at every rate.
        """
        base, images = self.model.base, tf.cast(batch, tf.float32)
        rate, realism = self._sample_rate_and_realism(tf.shape(images)[0])
        weight = weights_of_rates(base, rate)
        latents, rate = latents_at(base, images, rate)
        decoded = self.model.to_images(latents, rate, realism)
        error = tf.reduce_mean(tf.math.squared_difference(images, decoded), [1, 2, 3])
        perceptual, parts = distortions(
            self._terms, *randomly_cropped_and_scaled(self._noise, images, decoded)
        )
        parts = dict(parts)
        total = self.config.gamma * error + realism * perceptual
        if self.config.periodic:
            added = decoded - tf.stop_gradient(base.to_images(latents, rate))
            parts["periodic"] = periodic_energy(added)
            total += self.config.periodic * parts["periodic"]
        loss = tf.reduce_mean(weight * total)
        losses = {"loss": loss, "mse": tf.reduce_mean(error)}
        losses.update({name: tf.reduce_mean(values) for name, values in parts.items()})
        return losses, CriticBatch(images, decoded, latents, weight * realism)

    def save_weights(self, path: pathlib.Path) -> None:
        """Writes the averaged weights as a decoder file."""
        self.with_average(lambda: decoder_file.save(self.model, self._digest, path))


class RealismValidation(DecoderValidation):
    """Metrics of whole images at realism 0 and at full realism; see `DecoderValidation`."""

    def __init__(self, decoder: RealismDecoder, folder: str, config: RealismTraining) -> None:
        realism = {"realism": (0.0, config.realism or 1.0)}
        terms, rates = list(parsed(config.perceptual)), config.validation_rates
        super().__init__(decoder, folder, terms, rates, realism)

    def decoded(
        self, image: tf.Tensor, rate: tf.Tensor | None, realism: tf.Tensor | float = 1.0
    ) -> tf.Tensor:
        """Returns the reconstruction of an image at a realism."""
        return self._decoder(image, realism, rate)


class RealismRun(DecoderRun):
    """A run that trains a realism decoder; see `Run`."""

    config: RealismTraining

    def _build_validation(self, source: str) -> RealismValidation:
        return RealismValidation(self.trainer.model, source, self.config)


def train(
    config: RealismTraining,
    workdir: pathlib.Path,
    source: str,
    validation: str | None = None,
    strategy: str = "none",
) -> None:
    """Trains a realism decoder; see `image_run.train`."""

    def build() -> RealismTrainer:
        base, base_digest = base_of(config)
        return RealismTrainer(RealismDecoder(base, **config.arguments), base_digest, config)

    image_run.train(config, workdir, source, validation, strategy, build, RealismRun)
