"""Trains a decoder of more realism for the files of a model; see training.realism.

The model codes as ever: its analysis and entropy model stand still.
"""

from __future__ import annotations

import math
import pathlib

import numpy as np
import tensorflow as tf
from absl import logging

from tfc_models import metrics, models, zoo
from tfc_models.entropy.quantization import Noise
from tfc_models.models.distortion import distortions, parsed, prepare
from tfc_models.models.stored import digest
from tfc_models.realism import RealismDecoder, decoder_file
from tfc_models.training import data, image_run
from tfc_models.training.adversarial import AdversarialTrainer, Made
from tfc_models.training.config import SCALES, SHIFT, RealismTraining
from tfc_models.training.loop import Run
from tfc_models.training.trainer import Losses


def moved(noise: Noise, *batches: tf.Tensor) -> list[tf.Tensor]:
    """Batches of the same size, cut to begin at a random pixel and scaled by a random factor.

    Metrics of features are blind to some patterns at the phase and the scale of their strides.
    Were those always the same beside the decoder's own, it would learn to draw them: grids and
    weaves. (Kettunen, Härkönen, Lehtinen, "E-LPIPS: Robust Perceptual Image Similarity via Random
    Transformation Ensembles", 2019, for metrics.)
    """
    corner = tf.cast(noise(tf.constant([2]), 0.0, float(SHIFT)), tf.int32)
    top, left = tf.unstack(tf.minimum(corner, SHIFT - 1))  # Rounded to float32 it may be SHIFT.
    size = tf.shape(batches[0])[1:3] - (SHIFT - 1)
    scale = tf.exp(noise(tf.constant([1]), math.log(SCALES[0]), math.log(SCALES[1]))[0])
    scaled = tf.cast(tf.round(scale * tf.cast(size, tf.float32)), tf.int32)
    cut = [b[:, top : top + size[0], left : left + size[1]] for b in batches]
    return [tf.image.resize(b, scaled, tf.image.ResizeMethod.BICUBIC, antialias=True) for b in cut]


def periodic_energy(maps: tf.Tensor, period: int = 8, repeats: int = 8) -> tf.Tensor:
    """Returns the mean square of the part of maps that repeats, for each example.

    The maps are cut into squares of `repeats` × `repeats` periods (fewer in small maps). The mean
    over the periods of a square, for each place within a period, less the mean over the square,
    is the part that repeats. Noise leaves 1 / repeats² of its energy in it; what a decoder draws
    at fixed phases of its upsampling stays whole.
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
    """A realism decoder, the model whose files it decodes, and perhaps a critic."""

    def __init__(self, decoder: RealismDecoder, digest: str, config: RealismTraining) -> None:
        self._terms, self._digest = parsed(config.perceptual), digest
        prepare(self._terms)
        kinds = ["model"] * len(decoder.trainable_variables)
        self._noise = Noise()
        self._build_adversarial(decoder, config, kinds, decoder.base.latent_channels)
        # A run that goes on draws what it would have drawn.
        self.checkpoint.noise = self._noise

    def start(self, source: str) -> None:
        """Begins with a decoder's file, if the config names one."""
        if self.config.start:
            found = decoder_file.read(self.config.start)
            decoder_file.check(found, self.model.base.name, self._digest)
            self.model.assign_state(found.state)
        self.start_average()

    def before_step(self, fraction: float) -> None:
        """Nothing changes."""

    def _settings(self, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A quality and a realism for each example: qualities spread, every other at realism 1."""
        config = self.config
        first, last = config.qualities
        within, half, amount = tf.unstack(self._noise(tf.stack([3, count]), 0.0, 1.0))
        number = tf.cast(tf.range(count), tf.float32)
        rate = first + (last - first) * (number + within) / tf.cast(count, tf.float32)
        if config.realism:
            return rate, tf.fill([count], config.realism)
        return rate, tf.where(half < 0.5, 1.0, amount)

    def _made(self, batch: tf.Tensor) -> tuple[Losses, Made]:
        """Returns γ · squared error + realism · (perceptual distance + what a critic says).

        With `periodic`, what the blocks add in a regular pattern counts in addition.

        An example counts with the square root of its rate's lambda: a part of its error is worth
        the same at every rate.
        """
        base, pictures = self.model.base, tf.cast(batch, tf.float32)
        rate, realism = self._settings(tf.shape(pictures)[0])
        count = tf.sqrt(base.lambda_at(rate) / base.lmbda) if base.many_rates else 1.0
        rate = rate if base.many_rates else None
        latents, _ = base.coder(base.to_latents(pictures, rate), False, rate)
        latents = tf.stop_gradient(latents)
        decoded = self.model.to_images(latents, rate, realism)
        error = tf.reduce_mean(tf.math.squared_difference(pictures, decoded), [1, 2, 3])
        seen, parts = distortions(self._terms, *moved(self._noise, pictures, decoded))
        total = self.config.gamma * error + realism * seen
        parts = dict(parts)
        if self.config.periodic:
            added = decoded - tf.stop_gradient(base.to_images(latents, rate))
            parts["periodic"] = periodic_energy(added)
            total += self.config.periodic * parts["periodic"]
        loss = tf.reduce_mean(count * total)
        losses = {"loss": loss, "mse": tf.reduce_mean(error)}
        losses.update({name: tf.reduce_mean(values) for name, values in parts.items()})
        return losses, Made(pictures, decoded, latents, count * realism)

    def save_weights(self, path: pathlib.Path) -> None:
        """Writes the averaged weights as a decoder's file."""
        self.with_average(lambda: decoder_file.save(self.model, self._digest, path))


class RealismValidation:
    """The base's own pictures and those at realism 1, of whole pictures not trained on."""

    def __init__(self, decoder: RealismDecoder, folder: str, config: RealismTraining) -> None:
        self._pictures = [pixels for _, pixels in data.whole(folder)]
        if not self._pictures:
            raise ValueError(f"--validation {folder} has no picture that can be read.")
        self._rates = config.validation_rates if decoder.base.many_rates else (0.0,)
        self._amounts = (0.0, config.realism or 1.0)
        self._metrics = ("psnr", *parsed(config.perceptual))
        self.columns = ["quality", "realism", *self._metrics]
        least = max(metrics.METRICS[name].min_side for name in self._metrics)
        if any(min(p.shape[:2]) < least for p in self._pictures):
            raise ValueError(f"--validation {folder} has pictures of less than {least} pixels.")
        self._decoder = decoder
        self._one = tf.function(self._measure, autograph=False, reduce_retracing=True)

    def _measure(self, picture: tf.Tensor, rate: tf.Tensor, realism: tf.Tensor) -> tf.Tensor:
        given = rate if self._decoder.base.many_rates else None
        decoded = self._decoder(picture, realism, given)
        decoded = tf.cast(tf.saturate_cast(tf.round(decoded), tf.uint8), tf.float32)
        return tf.stack([metrics.METRICS[n].function(picture, decoded)[0] for n in self._metrics])

    def run(self) -> list[list[float]]:
        """A row for each rate and realism: means over the pictures."""
        rows = []
        for rate in self._rates:
            for amount in self._amounts:
                found = [
                    self._one(tf.constant(p[None], tf.float32), *map(tf.constant, (rate, amount)))
                    for p in self._pictures
                ]
                rows.append([rate, amount, *np.mean(found, axis=0).tolist()])
        return rows


class RealismRun(Run):
    """A run of a realism decoder; see `Run`."""

    def _validation_of(self, source: str) -> RealismValidation:
        return RealismValidation(self.trainer.model, source, self.config)

    def _validate(self) -> None:
        if not self._validation:
            return
        rows, step = self.trainer.with_average(self._validation.run), self.trainer.steps_taken
        columns = self._validation.columns
        self._to_table(columns, rows)
        for quality, realism, *values in rows:
            where = f"at quality {quality:g}, realism {realism:g}"
            for name, value in zip(columns[2:], values):
                tf.summary.scalar(f"validation/{name} {where}", value, step=step)
            shown = "  ".join(f"{n} {v:.4g}" for n, v in zip(columns[2:], values))
            logging.info("validation %s: %s", where, shown)


def base_of(name: str) -> tuple[models.CompressionModel, str]:
    """The model of a name or path, in floating point, and the digest of its frozen weights."""
    weights, _ = zoo.find(name)
    if not weights.frozen:
        raise ValueError(f"{name} is not frozen, and files name frozen weights: publish it first.")
    base = models.build(weights.model, **{**weights.config, "kernel": "plain"})
    base.assign_state(weights.state)
    return base, digest(weights.state).hex()


def train(
    config: RealismTraining,
    workdir: pathlib.Path,
    source: str,
    validation: str | None = None,
    strategy: str = "none",
) -> None:
    """Trains a realism decoder; see `image_run.train`."""

    def build() -> RealismTrainer:
        base, known = base_of(config.base)
        base.set_bfloat16(config.bfloat16)
        if config.model != base.name:
            raise ValueError(f"the config is for {config.model}; {config.base} is {base.name}.")
        return RealismTrainer(RealismDecoder(base, **config.arguments), known, config)

    image_run.train(config, workdir, source, validation, strategy, build, RealismRun)
