"""Compares context models: entropy coders of one codec's latents, trained on the same batches.

    python -m training.experiments.contexts --data IMAGES \
        --validation OTHER_IMAGES --output docs

Analysis and synthesis are those of a codec in the zoo and are not trained. First, the codec's
hyperprior is trained without the context. Then every coder starts from these weights. Its own
layers are random, and their outputs are zero at first. (Channel slices replace the hyperprior's
last layer and are entirely random.) All coders are trained with the same crops at the same rates.
The loss is the sum of the bits and the squared error of the quantized latents. Writes contexts.csv:
bits per pixel and PSNR of frozen models on whole images at several rates, and the BD-rate relative
to the hyperprior without a context.
"""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import flags, logging

from tfc_models import analysis, models, zoo
from tfc_models.cli import absl_programs
from tfc_models.layers import level_weights
from tfc_models.layers.gain import LARGEST_RATE
from tfc_models.training import data
from tfc_models.training.config import Config, schedule_settings
from tfc_models.training.schedule import learning_rates
from tfc_models.training.trainer import Losses, Trainer, initialize_weights
from tfc_models.training.validation import Point, compare_with_frozen
from tfc_models.zoo.files import Weights

_DATA = flags.DEFINE_string("data", None, "training images", required=True)
_VALIDATION = flags.DEFINE_string("validation", None, "folder of other images", required=True)
_OUTPUT = flags.DEFINE_string("output", "docs", "folder for contexts.csv")
_CODEC = flags.DEFINE_string("codec", zoo.DEFAULT, "variable-rate codec in the zoo")
_FIRST = flags.DEFINE_integer("first_steps", 500, "training steps of the hyperprior alone")
_STEPS = flags.DEFINE_integer("steps", 1500, "training steps of each coder")
_RATE = flags.DEFINE_float("rate", 1e-3, "learning rate")
_MODELS = flags.DEFINE_list(
    "models",
    ["gained-checkerboard", "gained-raster", "gained-channelwise"],
    "models with contexts",
)

NO_CONTEXT = "gained-stem4"
CROP, BATCH, DOWNSCALE, SEED = 256, 4, 2.0, 0
CALIBRATION_IMAGES = 8
RATES = (0.0, 25.0, 50.0, 75.0, 100.0)
# For small steps, a bit per latent has the value of a factor of 4 in its squared error of 1/12.
ERROR_WEIGHT = 6.0 / np.log(2.0)


def build_model(name: str, codec: Weights) -> models.CompressionModel:
    """Returns a model with a codec's sizes, and with the default quantization in training."""
    return models.build(name, **{k: v for k, v in codec.config.items() if k != "quantization"})


class CoderTrainer(Trainer):
    """Trainer of an entropy coder on given latents. A batch is latents and their rates.

    Args:
        name: name of the model.
        codec: codec with the model's sizes.
        state: initial weights.
        steps: number of training steps.
    """

    config: Config

    def __init__(self, name: str, codec: Weights, state: dict[str, np.ndarray], steps: int) -> None:
        model = build_model(name, codec)
        initialize_weights(model, state)
        # Neither an average nor a spike limit, so that all coders take the same steps.
        settings: dict[str, Any] = {"average": 0.0, "spike": float(tf.float32.max)}
        schedule = {"warmup": 0.02, "decay": 0.6, "last_rate": 0.0}
        config = Config(name, steps=max(1, steps), batch=BATCH, crop=CROP, **settings, **schedule)
        networks = model.analysis, model.synthesis
        fixed = {v.ref() for network in networks for v in network.trainable_variables}
        groups = ["fixed" if v.ref() in fixed else "coder" for v in model.trainable_variables]
        self._build(model, config, groups, ["coder"])

    def take_step(self, y: tf.Tensor, rate: tf.Tensor, fraction: float) -> float:
        """Takes one step; returns the bits per pixel."""
        settings = schedule_settings({"coder": _RATE.value}, self.config)
        return float(self.train((y, rate), learning_rates(fraction, **settings))["bpp"])

    def _losses(self, batch: tuple[tf.Tensor, tf.Tensor]) -> Losses:
        y, rate = batch
        y_hat, parts = self.model.coder(y, training=True, rate=rate)
        bits = tf.add_n(list(parts.values()))
        error = tf.reduce_sum(tf.square(y_hat - y), axis=(1, 2, 3))
        # Equal relative changes have equal weights at all rates, as in training of whole codecs.
        weight = tf.sqrt(self.model.lmbda / self.model.lambda_at(rate)) / CROP**2
        loss = tf.reduce_mean(weight * (bits + ERROR_WEIGHT * error))
        return {"loss": loss, "bpp": tf.reduce_mean(bits) / CROP**2}


def without_context(codec: Weights) -> dict[str, np.ndarray]:
    """Returns the codec's weights that a hyperprior without a context has, too."""
    state = build_model(NO_CONTEXT, codec).state()
    return {
        # In the last layer, the context's inputs are after all others.
        name: value[:, :, : state[name].shape[2]] if name.endswith("/kernel") else value
        for name, value in codec.state.items()
        if name in state
    }


def normalize(model: models.CompressionModel, crops: tf.Tensor) -> None:
    """Scales the latents that a context reads to unit deviation, without changing the model.

    A context reads latents divided by the gain of their means. That gain can be as small as the
    latents. A channel that is nearly always 0 would then occasionally have a large value. The gains
    are set to the latents' deviation, at least half a step, and the weights that they multiply are
    divided accordingly.
    """
    rate = tf.fill([crops.shape[0]], LARGEST_RATE / 2)
    deviation = np.std(model.to_latents(crops, rate), axis=(0, 1, 2))
    gain = model.coder.rates.mean_gain
    current = gain.at(level_weights(rate[:1], model.levels)).numpy()[0]
    factor = np.maximum(deviation, 0.5) / current
    gain.logarithm.assign_add(np.broadcast_to(np.log(factor), gain.logarithm.shape))
    heads = model.coder.prediction.heads[-1]
    scaled = {k: np.array(v) for k, v in heads.state().items()}
    for values in scaled.values():
        values[..., len(factor) :] /= factor  # Means come after indexes.
    heads.assign_state(scaled)


def train(trainers: dict[str, CoderTrainer], steps: int, first: int = 0) -> None:
    """Trains all coders on the same latents, starting with the batch `first`."""
    to_latents = next(iter(trainers.values())).model.to_latents
    latents = tf.function(to_latents, autograph=False)
    crops = data.crops(_DATA.value, CROP, DOWNSCALE, SEED, first * BATCH).batch(BATCH).prefetch(4)
    rng = np.random.default_rng([SEED, first])
    means = dict.fromkeys(trainers, 0.0)
    for step, batch in enumerate(crops.take(steps), 1):
        # Stratified: one rate in each of BATCH equal intervals.
        rate = (np.arange(BATCH) + rng.random(BATCH)) * (LARGEST_RATE / BATCH)
        rate = tf.constant(rate, tf.float32)
        y = latents(batch, rate)
        for name, trainer in trainers.items():
            means[name] += 0.02 * (trainer.take_step(y, rate, step / steps) - means[name])
        if step % 100 == 0:
            text = "  ".join(f"{k} {v / (1.0 - 0.98**step):.4f}" for k, v in means.items())
            logging.info("step %d: %s bpp", step, text)


class Row(NamedTuple):
    """Results of a coder.

    Attributes:
        name: of the model.
        points: one for each of `RATES`, of the frozen model.
        bd_rate: relative to no context, in percent; NaN if the curves do not overlap.
        exactness: increase of the rate by freezing, in percent.
    """

    name: str
    points: list[Point]
    bd_rate: float
    exactness: float


def compare(codec: Weights) -> Iterator[Row]:
    """Trains all coders, then freezes and measures one after another."""
    tf.keras.utils.set_random_seed(SEED)
    hyperprior = CoderTrainer(NO_CONTEXT, codec, without_context(codec), _FIRST.value)
    train({NO_CONTEXT: hyperprior}, _FIRST.value)
    crops = data.crops(_DATA.value, CROP, DOWNSCALE, SEED + 1)
    calibration = tf.cast(next(iter(crops.batch(CALIBRATION_IMAGES))), tf.float32)
    normalize(hyperprior.model, calibration)
    state = {k: np.asarray(v) for k, v in hyperprior.model.state().items()}
    trainers = {
        name: CoderTrainer(name, codec, state, _STEPS.value)
        for name in (NO_CONTEXT, *_MODELS.value)
    }
    train(trainers, _STEPS.value, _FIRST.value)
    anchor = None
    for name, trainer in trainers.items():
        _, points, added = compare_with_frozen(trainer.model, _VALIDATION.value, RATES, calibration)
        curve = [(p.bpp, p.psnr) for p in points]
        anchor = anchor or curve
        try:
            bd_rate = analysis.bd_rate(anchor, curve)
        except analysis.NoOverlapError:
            bd_rate = float("nan")
        yield Row(name, points, bd_rate, 100.0 * added)


def write() -> None:
    """Runs the comparison with the flags' settings and writes contexts.csv."""
    output = pathlib.Path(_OUTPUT.value)
    if not output.is_dir():
        raise ValueError(f"there is no folder {output}.")
    codec, _ = zoo.find(_CODEC.value)
    with (output / "contexts.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["model", "rate", "bpp", "psnr", "bd_rate", "exactness"])
        for row in compare(codec):
            summary = round(row.bd_rate, 2), round(row.exactness, 3)
            logging.info("%s: BD-rate %+.2f %%, exactness %+.3f %%", row.name, *summary)
            for p in row.points:
                figures = [round(p.bpp, 4), round(p.psnr, 3)]
                table.writerow([row.name, p.rate, *figures, *summary])
                logging.info("%s at %.0f: %.4f bpp, %.3f dB", row.name, p.rate, *figures)
            file.flush()


if __name__ == "__main__":
    absl_programs.run(write)
