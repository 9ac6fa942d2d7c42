"""What every context is worth: coders of one codec's latents, trained side by side.

    python -m training.experiments.contexts --data IMAGES \
        --validation OTHER_IMAGES --output docs

Analysis and synthesis are those of a codec of the zoo, and do not move. Its hyperprior, without
the context, learns to stand alone first. Every coder then begins with that, its own layers at
random and what they add at zero (slices of channels, which stand in for the hyperprior's last
layer, begin at random altogether), and learns from the same crops at the same rates: bits, and
the squared error of what it gives the synthesis. Writes contexts.csv: bits per pixel and PSNR of
frozen models on whole pictures at several rates, and the BD-rate against the hyperprior alone.
"""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import flags, logging

from tfc_models import analysis, models, zoo
from tfc_models.cli import absl_programs
from tfc_models.layers import level_weights
from tfc_models.layers.gain import LARGEST_RATE
from tfc_models.training import data, schedule
from tfc_models.training.trainer import Adam, adopt
from tfc_models.training.validation import Point, beside_frozen
from tfc_models.zoo.files import Weights

_DATA = flags.DEFINE_string("data", None, "training pictures", required=True)
_VALIDATION = flags.DEFINE_string("validation", None, "other pictures", required=True)
_OUTPUT = flags.DEFINE_string("output", "docs", "folder")
_CODEC = flags.DEFINE_string("codec", zoo.DEFAULT, "of the zoo, of many rates")
_FIRST = flags.DEFINE_integer("first_steps", 500, "of the hyperprior, before all others begin")
_STEPS = flags.DEFINE_integer("steps", 1500, "of each training")
_RATE = flags.DEFINE_float("rate", 1e-3, "rate of learning")
_MODELS = flags.DEFINE_list(
    "models", ["gained-checkerboard", "gained-raster", "gained-channelwise"], "with contexts"
)

ALONE = "gained-stem4"
CROP, BATCH, DOWNSCALE, SEED = 256, 4, 2.0, 0
CLIP_NORM, CALIBRATION = 1.0, 8
RATES = (0.0, 25.0, 50.0, 75.0, 100.0)
# Where steps are fine, a bit a latent is worth a factor of 4 in its squared error of 1/12.
BITS_OF_ERROR = 6.0 / np.log(2.0)


def built(name: str, codec: Weights) -> models.CompressionModel:
    """A model of a codec's sizes, which learns as its kind does."""
    return models.build(name, **{k: v for k, v in codec.config.items() if k != "quantization"})


class Side:
    """One coder of the shared latents, and what trains it."""

    def __init__(self, name: str, codec: Weights, state: dict[str, np.ndarray]) -> None:
        self.model = built(name, codec)
        adopt(self.model, state)
        networks = self.model.analysis, self.model.synthesis
        fixed = {v.ref() for network in networks for v in network.trainable_variables}
        self.variables = [v for v in self.model.trainable_variables if v.ref() not in fixed]
        self.optimizer = Adam(epsilon=1e-8)
        self.optimizer.build(self.variables)
        self._compiled = tf.function(self._step, autograph=False)

    def train(self, y: tf.Tensor, rate: tf.Tensor, fraction: float) -> float:
        """One step; gives the bits of a pixel."""
        rates = schedule.learning_rates(fraction, {"all": _RATE.value}, (), 0.0, 0.02, 0.6, 0.0)
        self.optimizer.learning_rate.assign(rates["all"])
        return float(self._compiled(y, rate))

    def _step(self, y: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            y_hat, parts = self.model.coder(y, training=True, rate=rate)
            bits = tf.add_n(list(parts.values()))
            error = tf.reduce_sum(tf.square(y_hat - y), axis=(1, 2, 3))
            # As in training whole codecs: every rate counts as much, in percent.
            weight = tf.sqrt(self.model.lmbda / self.model.lambda_at(rate)) / CROP**2
            loss = tf.reduce_mean(weight * (bits + BITS_OF_ERROR * error))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, self.variables), CLIP_NORM)
        self.optimizer.apply_gradients(zip(gradients, self.variables))
        return tf.reduce_mean(bits) / CROP**2


def without_context(codec: Weights) -> dict[str, np.ndarray]:
    """A codec's values, as far as the hyperprior alone has them."""
    ours = built(ALONE, codec).state()
    return {
        # What the last layer reads of a context comes after the rest.
        name: value[:, :, : ours[name].shape[2]] if name.endswith("/kernel") else value
        for name, value in codec.state.items()
        if name in ours
    }


def normalize(model: models.CompressionModel, crops: tf.Tensor) -> None:
    """Makes latents that are read as large as one, whatever their channel, and changes nothing.

    They are read divided by the gain of their means, and that may be as small as they are: then a
    channel that is nearly always 0 gives a context a large number once in a while. Here gains grow
    to the latents' deviation (and not less than half a step), and what they multiply shrinks.
    """
    rate = tf.fill([crops.shape[0]], LARGEST_RATE / 2)
    deviation = np.std(model.to_latents(crops, rate), axis=(0, 1, 2))
    gain = model.coder.rates.mean_gain
    now = gain.at(level_weights(rate[:1], model.levels)).numpy()[0]
    factor = np.maximum(deviation, 0.5) / now
    gain.logarithm.assign_add(np.broadcast_to(np.log(factor), gain.logarithm.shape))
    heads = model.coder.prediction.heads[-1]
    shrunk = {k: np.array(v) for k, v in heads.state().items()}
    for values in shrunk.values():
        values[..., len(factor) :] /= factor  # Means come after indexes.
    heads.assign_state(shrunk)


def train(sides: dict[str, Side], steps: int, first: int = 0) -> None:
    """All coders on the same latents, from the example `first` on."""
    to_latents = next(iter(sides.values())).model.to_latents
    latents = tf.function(to_latents, autograph=False)
    crops = data.crops(_DATA.value, CROP, DOWNSCALE, SEED, first * BATCH).batch(BATCH).prefetch(4)
    random = np.random.default_rng([SEED, first])
    means = dict.fromkeys(sides, 0.0)
    for step, batch in enumerate(crops.take(steps), 1):
        # One in each of as many equal parts of the rates as there are crops.
        rate = (np.arange(BATCH) + random.random(BATCH)) * (LARGEST_RATE / BATCH)
        rate = tf.constant(rate, tf.float32)
        y = latents(batch, rate)
        for name, side in sides.items():
            means[name] += 0.02 * (side.train(y, rate, step / steps) - means[name])
        if step % 100 == 0:
            shown = "  ".join(f"{k} {v / (1.0 - 0.98**step):.4f}" for k, v in means.items())
            logging.info("step %d: %s bpp", step, shown)


class Row(NamedTuple):
    """What a coder reached.

    Attributes:
        name: of the model.
        points: one for each of `RATES`, frozen.
        bd_rate: against the hyperprior alone, in percent; NaN where the curves do not meet.
        exactness: what freezing added to the bits, in percent.
    """

    name: str
    points: list[Point]
    bd_rate: float
    exactness: float


def compare(codec: Weights) -> Iterator[Row]:
    """Trains all coders, then freezes and measures one after another."""
    tf.keras.utils.set_random_seed(SEED)
    alone = Side(ALONE, codec, without_context(codec))
    train({ALONE: alone}, _FIRST.value)
    crops = data.crops(_DATA.value, CROP, DOWNSCALE, SEED + 1)
    shown = tf.cast(next(iter(crops.batch(CALIBRATION))), tf.float32)
    normalize(alone.model, shown)
    state = {k: np.asarray(v) for k, v in alone.model.state().items()}
    sides = {name: Side(name, codec, state) for name in (ALONE, *_MODELS.value)}
    train(sides, _STEPS.value, _FIRST.value)
    anchor = None
    for name, side in sides.items():
        _, points, added = beside_frozen(side.model, _VALIDATION.value, RATES, shown)
        curve = [(p.bpp, p.psnr) for p in points]
        anchor = anchor or curve
        try:
            bd_rate = analysis.bd_rate(anchor, curve)
        except analysis.NoOverlapError:
            bd_rate = float("nan")
        yield Row(name, points, bd_rate, 100.0 * added)


def write() -> None:
    """Compares as the flags say."""
    output = pathlib.Path(_OUTPUT.value)
    if not output.is_dir():
        raise ValueError(f"there is no folder {output}.")
    codec, _ = zoo.find(_CODEC.value)
    with (output / "contexts.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["model", "rate", "bpp", "psnr", "bd_rate", "exactness"])
        for row in compare(codec):
            whole = round(row.bd_rate, 2), round(row.exactness, 3)
            logging.info("%s: BD-rate %+.2f %%, exactness %+.3f %%", row.name, *whole)
            for p in row.points:
                figures = [round(p.bpp, 4), round(p.psnr, 3)]
                table.writerow([row.name, p.rate, *figures, *whole])
                logging.info("%s at %.0f: %.4f bpp, %.3f dB", row.name, p.rate, *figures)
            file.flush()


if __name__ == "__main__":
    absl_programs.run(write)
