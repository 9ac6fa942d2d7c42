"""Trains HiFiC in the two stages of its paper; see training/configs/hific.py and hific_gan.py.

    python -m training.gan --config training/configs/hific.py --workdir FIRST \
        --data PICTURES --validation OTHER_PICTURES
    python -m training.gan --config training/configs/hific_gan.py --workdir OUT \
        --data PICTURES --validation OTHER_PICTURES --set start=FIRST/weights.npz

Mentzer, Toderici, Tschannen, Agustsson, "High-Fidelity Generative Image Compression" (NeurIPS
2020): first rate, squared error and what people see; then the same and a critic. A controller
holds the rate at a target, in bits per pixel. Any model of one rate trains so; its arguments
`lmbda` and `distortion` are not used, as the config says what the loss is.

Kill it at any time: the same command goes on where the last checkpoint was. OUT/weights.npz
holds the moving average of the weights (training.publish makes a model of the zoo of it).
"""

from __future__ import annotations

import pathlib

import tensorflow as tf

from tfc_models import models
from tfc_models.models.distortion import distortions, parsed, prepare
from tfc_models.zoo import files
from training import program
from training.adversarial import AdversarialTrainer, Made
from training.hific_config import HificTraining
from training.run import Run
from training.trainer import Losses, adopt
from training.validation import Validation


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
        del source
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
        decoded = model.to_pictures(seen_latents)
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


def train() -> None:
    """Trains as the flags say."""
    from training import flagged, picture_flags  # Which define flags.

    config: HificTraining = flagged.configured(HificTraining)
    picture_flags.check_apart()
    workdir = flagged.workdir_for(config)
    with picture_flags.strategy().scope():
        tf.keras.utils.set_random_seed(config.seed)
        model = models.build(config.model, **config.arguments)
        model.set_bfloat16(config.bfloat16)
        trainer = GanTrainer(model, config)
    picture_flags.train(GanRun, trainer, workdir)


if __name__ == "__main__":
    from training import flagged, picture_flags  # Which define flags.

    program.run(train, flagged, picture_flags)
