"""Trains HiFiC in the two stages of its paper; see training.gan.

Mentzer, Toderici, Tschannen, Agustsson, "High-Fidelity Generative Image Compression" (NeurIPS
2020): first rate, squared error and what people see; then the same and a critic. A controller
holds the rate at a target, in bits per pixel. Any model of one rate trains so; its arguments
`lmbda` and `distortion` are not used, as the config says what the loss is.
"""

from __future__ import annotations

import pathlib

import tensorflow as tf

from tfc_models import models
from tfc_models.models.distortion import distortions, parsed, prepare
from tfc_models.training import image_run
from tfc_models.training.adversarial import AdversarialTrainer, Made
from tfc_models.training.hific_config import HificTraining
from tfc_models.training.loop import Run
from tfc_models.training.trainer import Losses, adopt
from tfc_models.training.validation import Validation
from tfc_models.zoo import files


class GanTrainer(AdversarialTrainer):
    """A model of one rate, the controller of its rate, and perhaps a critic."""

    def __init__(self, model: models.CompressionModel, config: HificTraining) -> None:
        if model.many_rates:
            raise ValueError(
                f"{model.name} codes at many rates, and there is one target: training.gan takes "
                "models of one rate."
            )
        self._terms = parsed(config.perceptual)
        prepare(self._terms)
        self._fraction = tf.Variable(0.0, trainable=False)
        kinds = ["model"] * len(model.trainable_variables)
        self._build_adversarial(model, config, kinds, model.latent_channels)

    def start(self, source: str) -> None:
        """Begins with the weights of a file, if the config names one."""
        if self.config.start != "random":
            found = files.read(pathlib.Path(self.config.start))
            ours, theirs = (
                {name for name in state if not name.startswith("coder/")}
                for state in (self.model.state(), found.state)
            )
            if found.model != self.model.name or ours != theirs:
                raise ValueError(
                    f"{self.config.start} has other networks than the config's {self.model.name}: "
                    f"it is {found.model} of {found.config}."
                )
            adopt(self.model, found.state)
        self.start_average()

    def before_step(self, fraction: float) -> None:
        """Also tells the controller of the budget that is spent."""
        super().before_step(fraction)
        self._fraction.assign(fraction)

    def _controlled(self, bpp: tf.Tensor) -> Losses:
        """The rate's weight 1/λ for a batch of so many bits per pixel, quantized, and why."""
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

    def _made(self, batch: tf.Tensor) -> tuple[Losses, Made]:
        """Of C · (rate / λ + squared · squared error) + (what people see).

        The rate that learns is that of noise for rounding; the controller's is what would be
        coded.
        """
        config, model = self.config, self.model
        pictures = tf.cast(batch, tf.float32)
        latents = model.to_latents(pictures)
        seen_latents, noisy = model.coder(latents, True)
        _, rounded = model.coder(tf.stop_gradient(latents), False)
        decoded = model.to_images(seen_latents)
        pixels = tf.cast(tf.reduce_prod(tf.shape(pictures)[1:3]), tf.float32)
        bpp, quantized = (
            tf.reduce_mean(tf.add_n(list(bits.values()))) / pixels for bits in (noisy, rounded)
        )
        control = self._controlled(quantized)
        error = tf.reduce_mean(tf.math.squared_difference(pictures, decoded))
        seen, parts = distortions(self._terms, pictures, decoded)
        loss = config.scale * (control["rate_weight"] * bpp + config.squared * error)
        losses = {
            "loss": loss + tf.reduce_mean(seen),
            "bpp": bpp,
            "quantized_bpp": quantized,
            **control,
            "mse": error,
            **{name: tf.reduce_mean(values) for name, values in parts.items()},
        }
        return losses, Made(pictures, decoded, seen_latents, tf.ones(tf.shape(pictures)[:1]))


class GanRun(Run):
    """A run of such a model; see `Run`."""

    def _validation_of(self, source: str) -> Validation:
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
        model.set_bfloat16(config.bfloat16)
        return GanTrainer(model, config)

    image_run.train(config, workdir, source, validation, strategy, build, GanRun)
