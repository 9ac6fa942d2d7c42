"""Fits one model to a folder of pictures, from the linear optimum, on a CPU.

    python -m training.fit --model mbt2018-mean --lmbda 0.01 --data DIR --workdir OUT --minutes 90

Kill it at any time: the same command goes on from the last checkpoint. At the end (and at
every checkpoint) OUT/weights.npz holds the moving average of the weights.
"""

from __future__ import annotations

import pathlib
import time

import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from tfc_models import models
from tfc_models.zoo import files
from training.linear_start import linear_start

_MODEL = flags.DEFINE_enum("model", "mbt2018-mean", models.names(), "what to train")
_LMBDA = flags.DEFINE_float("lmbda", 0.01, "weight of the distortion against bits per pixel")
_CHANNELS = flags.DEFINE_integer("channels", 128, "width of the stages")
_LATENTS = flags.DEFINE_integer("latents", 192, "width of the latents")
_GDN = flags.DEFINE_enum("gdn", "gdn1", ["gdn", "gdn1"], "form of the normalization")
_DATA = flags.DEFINE_string("data", None, "folder of pictures, searched recursively", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "checkpoints and weights", required=True)
_INIT = flags.DEFINE_string("init", None, "weights file to start from, instead of the linear start")
_LINEAR = flags.DEFINE_bool("linear_start", True, "start from the linear optimum, not at random")
_MINUTES = flags.DEFINE_float("minutes", 60.0, "training time; the learning rate decays over it")
_BATCH = flags.DEFINE_integer("batch", 8, "crops a step")
_CROP = flags.DEFINE_integer("crop", 256, "side of a crop, a multiple of 64")
_RATE = flags.DEFINE_float("learning_rate", 2e-4, "of the transforms, at its peak")
_ENTROPY_RATE = flags.DEFINE_float("entropy_rate", 1e-3, "of the entropy model, at its peak")
_HEAD_START = flags.DEFINE_float(
    "head_start", 0.05, "share of the time for the entropy model alone"
)
_SEED = flags.DEFINE_integer("seed", 0, "of crops and of the free channels")

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
CLIP_NORM = 1.0
DECAY = 0.998  # of the moving average, per step
SPIKE = 3.0  # a loss this many times the running mean is skipped


def crops(folder: str, side: int, seed: int) -> tf.data.Dataset:
    """Random crops of the pictures in a folder, flipped, and scaled down by up to 2."""
    paths = sorted(str(p) for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise app.UsageError(f"no pictures ({', '.join(sorted(SUFFIXES))}) under {folder}")

    def crop(path: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        picture = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        shortest = tf.cast(tf.reduce_min(tf.shape(picture)[:2]), tf.float32)
        factor = tf.clip_by_value(tf.random.stateless_uniform([], key, 0.7, 2.0), 1.0, 2.0)
        size = tf.cast(tf.minimum(factor * side, shortest), tf.int32)
        picture = tf.image.stateless_random_crop(picture, tf.stack([size, size, 3]), key + 1)
        # Bilinear with antialiasing, on the crop alone: scaling whole pictures costs more
        # than the training step.
        picture = tf.image.resize(picture, [side, side], antialias=True)
        return tf.image.stateless_random_flip_left_right(picture, key + 2)

    dataset = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths), seed=seed).repeat()
    keys = tf.data.Dataset.random(seed=seed).batch(2, drop_remainder=True)
    dataset = tf.data.Dataset.zip((dataset, keys)).map(crop, num_parallel_calls=2)
    return dataset.ignore_errors()


class Trainer:
    """A model, its optimizers and moving average: everything that a checkpoint holds."""

    def __init__(self, model: models.CompressionModel) -> None:
        self.model = model
        transforms = (*model.analysis.trainable_variables, *model.synthesis.trainable_variables)
        fast = {v.ref() for v in transforms}
        self.variables = list(model.trainable_variables)
        self.groups = (
            [v for v in self.variables if v.ref() in fast],
            [v for v in self.variables if v.ref() not in fast],
        )
        self.optimizers = [tf.keras.optimizers.Adam(epsilon=1e-8) for _ in self.groups]
        for optimizer, group in zip(self.optimizers, self.groups):
            optimizer.build(group)
        self.average = [tf.Variable(v, trainable=False) for v in self.variables]
        self.loss = tf.Variable(0.0, trainable=False)
        self.step_count = tf.Variable(0, trainable=False, dtype=tf.int64)
        self.seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        self.checkpoint = tf.train.Checkpoint(
            model=model,
            optimizers=self.optimizers,
            average=self.average,
            loss=self.loss,
            step=self.step_count,
            seconds=self.seconds,
        )

    @tf.function
    def step(self, batch: tf.Tensor, rates: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step; a spike or a NaN is skipped, and the weights stay as they were."""
        with tf.GradientTape() as tape:
            losses = self.model.losses_of(batch, training=True)
        gradients, norm = tf.clip_by_global_norm(
            tape.gradient(losses["loss"], self.variables), CLIP_NORM
        )
        by_variable = {v.ref(): g for v, g in zip(self.variables, gradients)}
        loss = losses["loss"]
        known = self.loss > 0.0
        good = tf.math.is_finite(norm) & ((loss < SPIKE * self.loss) | ~known)

        def update() -> None:
            for i, (optimizer, group) in enumerate(zip(self.optimizers, self.groups)):
                optimizer.learning_rate.assign(rates[i])
                optimizer.apply_gradients([(by_variable[v.ref()], v) for v in group])
            count = tf.cast(self.step_count, tf.float32)
            decay = tf.minimum(DECAY, (1.0 + count) / (10.0 + count))
            for average, variable in zip(self.average, self.variables):
                average.assign(decay * average + (1.0 - decay) * variable)

        tf.cond(good, lambda: (update(), True)[1], lambda: False)
        mean = tf.where(known, 0.98 * self.loss + 0.02 * tf.minimum(loss, 2 * self.loss), loss)
        self.loss.assign(tf.where(tf.math.is_finite(mean), mean, self.loss))
        self.step_count.assign_add(1)
        return {**losses, "norm": norm, "skipped": 1.0 - tf.cast(good, tf.float32)}

    def save_average(self, path: pathlib.Path) -> None:
        """Writes the averaged weights as a weights file."""
        current = [tf.identity(v) for v in self.variables]
        for variable, average in zip(self.variables, self.average):
            variable.assign(average)
        files.save(self.model, path)
        for variable, value in zip(self.variables, current):
            variable.assign(value)


def rates_at(fraction: float) -> tf.Tensor:
    """Learning rates of transforms and entropy model at a fraction of the time."""
    decay = 0.5 * (1.0 + np.cos(np.pi * min(fraction, 1.0)))
    decay = 0.02 + 0.98 * decay
    ramp = np.clip((fraction - _HEAD_START.value) / 0.03, 0.0, 1.0)
    return tf.constant([_RATE.value * ramp * decay, _ENTROPY_RATE.value * decay], tf.float32)


def main(argv: list[str]) -> None:
    del argv
    workdir = pathlib.Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    tf.keras.utils.set_random_seed(_SEED.value)
    model = models.build(
        _MODEL.value,
        channels=_CHANNELS.value,
        latents=_LATENTS.value,
        lmbda=_LMBDA.value,
        gdn=_GDN.value,
    )
    dataset = crops(_DATA.value, _CROP.value, _SEED.value)
    trainer = Trainer(model)
    manager = tf.train.CheckpointManager(trainer.checkpoint, str(workdir / "checkpoints"), 2)
    if manager.latest_checkpoint:
        trainer.checkpoint.restore(manager.latest_checkpoint).assert_consumed()
        logging.info("going on from step %d", trainer.step_count.numpy())
    else:
        if _INIT.value:
            model.assign_state(files.read(pathlib.Path(_INIT.value)).state)
        elif _LINEAR.value:
            samples = np.stack(list(dataset.take(400).as_numpy_iterator()))
            logging.info(
                "the linear start keeps %.4f of the variance", linear_start(model, samples)
            )
        for average, variable in zip(trainer.average, trainer.variables):
            average.assign(variable)
    batches = iter(dataset.shuffle(64).batch(_BATCH.value, drop_remainder=True).prefetch(2))
    before, start, saved, sums = float(trainer.seconds), time.monotonic(), time.monotonic(), {}
    budget = 60.0 * _MINUTES.value
    while float(trainer.seconds) < budget:
        losses = trainer.step(next(batches), rates_at(float(trainer.seconds) / budget))
        trainer.seconds.assign(before + time.monotonic() - start)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value)
        step = int(trainer.step_count)
        if step % 25 == 0:
            means = "  ".join(f"{k} {v / 25:.4f}" for k, v in sums.items())
            logging.info("step %d  %.0f s  %s", step, float(trainer.seconds), means)
            sums = {}
        if time.monotonic() - saved > 300.0:
            manager.save()
            trainer.save_average(workdir / "weights.npz")
            saved = time.monotonic()
    manager.save()
    trainer.save_average(workdir / "weights.npz")
    logging.info("done: %s", workdir / "weights.npz")


if __name__ == "__main__":
    app.run(main)
