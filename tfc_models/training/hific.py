"""Training of HiFiC in the two stages of its paper; see training.gan.

Mentzer, Toderici, Tschannen, Agustsson, "High-Fidelity Generative Image Compression" (NeurIPS
2020). The first stage trains for rate, squared error and a perceptual distance; the second adds a
critic. A controller keeps the rate near a target in bits per pixel. Any single-rate model can be
trained this way. The model's `lmbda` and `distortion` are not used, as the config defines the loss.
"""

from __future__ import annotations

import pathlib

import tensorflow as tf

from tfc_models import models
from tfc_models.layers import setting_for_gradients
from tfc_models.models.distortion import distortions, parsed, prepare
from tfc_models.training import image_run
from tfc_models.training.adversarial import AdversarialTrainer, CriticBatch
from tfc_models.training.hific_config import HificTraining
from tfc_models.training.loop import Run
from tfc_models.training.trainer import Losses, initialize_weights
from tfc_models.training.validation import Validation
from tfc_models.zoo import files


class GanTrainer(AdversarialTrainer):
    """Trainer of a single-rate model with a rate controller and an optional critic."""

    config: HificTraining

    def __init__(self, model: models.CompressionModel, config: HificTraining) -> None:
        if model.many_rates:
            raise ValueError(
                f"{model.name} is a variable-rate model: training.gan has one target rate and "
                "takes single-rate models."
            )
        self._terms = parsed(config.perceptual)
        prepare(self._terms)
        self._fraction = tf.Variable(0.0, trainable=False)
        groups = ["model"] * len(model.trainable_variables)
        self._build_adversarial(model, config, groups, model.latent_channels)

    def start(self, source: str) -> None:
        """Sets the initial weights: random, or from the file that the config names."""
        if self.config.start != "random":
            weights = files.read(pathlib.Path(self.config.start))
            expected, actual = (
                {name for name in state if not name.startswith("coder/")}
                for state in (self.model.state(), weights.state)
            )
            if weights.model != self.model.name or actual != expected:
                raise ValueError(
                    f"{self.config.start} has other networks than the config's {self.model.name}: "
                    f"it is {weights.model} with {weights.config}."
                )
            initialize_weights(self.model, weights.state)
        self.reset_average()

    def before_step(self, fraction: float) -> None:
        """Also sets the fraction of the budget for the rate controller."""
        super().before_step(fraction)
        self._fraction.assign(fraction)

    def _rate_control(self, bpp: tf.Tensor) -> Losses:
        """Returns the weight of the rate, 1/λ, for a batch with this quantized rate.

        The target and whether the rate is above it are returned too.
        """
        config = self.config
        opening = self._fraction < config.opening
        target = config.target * tf.where(opening, config.opening_target, 1.0)
        above = bpp > target
        lmbda = tf.where(above, config.lambda_above, config.lambda_below)
        lmbda *= tf.where(opening, config.opening_lambda, 1.0)
        return {
            "rate_weight": 1.0 / lmbda,
            "above_target": tf.cast(above, tf.float32),
            "target": target,
        }

    def _losses_and_critic_batch(self, batch: tf.Tensor) -> tuple[Losses, CriticBatch]:
        """Returns C · (rate / λ + squared · squared error) + perceptual distance.

        The rate in the loss is that of latents with additive noise. The controller uses the rate
        of rounded latents.
        """
        config, model = self.config, self.model
        images = tf.cast(batch, tf.float32)
        latents = model.to_latents(images)
        quantized_latents, noisy = model.coder(latents, True)
        _, rounded = model.coder(tf.stop_gradient(latents), False)
        decoded = model.to_images(quantized_latents)
        pixels = tf.cast(tf.reduce_prod(tf.shape(images)[1:3]), tf.float32)
        bpp, quantized = (
            tf.reduce_mean(tf.add_n(list(bits.values()))) / pixels for bits in (noisy, rounded)
        )
        control = self._rate_control(quantized)
        error = tf.reduce_mean(tf.math.squared_difference(images, decoded))
        perceptual, parts = distortions(self._terms, images, decoded)
        loss = config.scale * (control["rate_weight"] * bpp + config.squared * error)
        losses = {
            "loss": loss + tf.reduce_mean(perceptual),
            "bpp": bpp,
            "quantized_bpp": quantized,
            **control,
            "mse": error,
            **{name: tf.reduce_mean(values) for name, values in parts.items()},
        }
        weights = tf.ones(tf.shape(images)[:1])
        return losses, CriticBatch(images, decoded, quantized_latents, weights)


class GanRun(Run):
    """A run that trains in one of HiFiC's stages; see `Run`."""

    config: HificTraining

    def _build_validation(self, source: str) -> Validation:
        return Validation(self.trainer.model, source, (), parsed(self.config.perceptual))


def train(
    config: HificTraining,
    workdir: pathlib.Path,
    source: str,
    validation: str | None = None,
    strategy: str = "none",
) -> None:
    """Trains in one of HiFiC's stages; see `image_run.train`."""

    def build() -> GanTrainer:
        model = models.build(config.model, **config.arguments)
        model.set_bfloat16(setting_for_gradients(config.bfloat16))
        return GanTrainer(model, config)

    image_run.train(config, workdir, source, validation, strategy, build, GanRun)
