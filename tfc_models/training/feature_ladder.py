"""Trains networks with compressible features at several rates, and measures the baselines."""

from __future__ import annotations

import csv
import io
import math
import os
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from tfc_models.features import CompressibleFeatures
from tfc_models.features.baselines import (
    Baseline,
    Float32,
    Int8,
    PcaQuantization,
    ProductQuantization,
    Zip,
)
from tfc_models.training import feature_tasks, run_identity
from tfc_models.training.feature_config import FeatureTraining
from tfc_models.training.feature_tasks import Task
from tfc_models.training.stopped import TrainingStopped

RESULTS = "results.csv"
STEPS_AT_ONCE = 10  # Keras executes several steps per call, as small networks take little time.
UNCOMPRESSED = "uncompressed"


class Row(NamedTuple):
    """Result of a method on the test set, for one seed.

    Attributes:
        method: name of the baseline, or the prior of the layer.
        setting: λ, or the quantization step; 0 if the method has none.
        seed: of the training.
        bits: per example, of the data.
        side_bytes: bytes that the decoder needs besides the data: tables, bases, codebooks.
        examples: number of examples in the test set.
        accuracy: on the test set.
        validation: accuracy on the validation set.
    """

    method: str
    setting: float
    seed: int
    bits: float
    side_bytes: int
    examples: int
    accuracy: float
    validation: float


def run(config: FeatureTraining, data: Sequence[str], workdir: pathlib.Path) -> list[Row]:
    """Trains and measures what the work folder has no results of; returns all results."""
    run_identity.check(workdir, config)
    task = feature_tasks.load(config.model, data, **config.arguments)
    run_identity.write(workdir, config)
    rows = read(workdir / RESULTS)
    seeds = range(config.seed, config.seed + config.seeds)
    done = {(row.method, row.setting, row.seed) for row in rows}
    # All methods of a seed follow each other, so that an interrupted run has comparable results.
    for seed in seeds:
        jobs = [(UNCOMPRESSED, 0.0), *((p, w) for p in config.priors for w in config.weights)]
        for method, weight in jobs:
            if (method, weight, seed) in done:
                continue
            started = time.monotonic()
            if method == UNCOMPRESSED:
                rows += _measure_baselines(config, task, seed)
            else:
                rows.append(_measure_layer(config, task, method, weight, seed))
            write(rows, workdir / RESULTS)
            logging.info("%.0f s: %s", time.monotonic() - started, rows[-1])
    return rows


def train(
    config: FeatureTraining, task: Task, seed: int, layer: CompressibleFeatures | None = None
) -> tuple[tf.keras.Model, tf.keras.layers.Layer]:
    """Returns a trained backbone and head, with the layer between them in training."""
    tf.keras.utils.set_random_seed(seed)
    backbone, head = task.backbone(), task.head()
    model = tf.keras.Sequential([backbone, *([layer] if layer else []), head])
    optimizer = tf.keras.optimizers.Adam(
        config.rate,
        global_clipnorm=config.clip_norm,
        use_ema=True,
        ema_momentum=config.average,
    )
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, steps_per_execution=STEPS_AT_ONCE)
    images, labels = task.training.images, task.training.labels
    batches = tf.data.Dataset.from_tensor_slices((images, labels))
    batches = batches.shuffle(len(labels), seed=seed).repeat().batch(config.batch)
    history = model.fit(
        batches.prefetch(2),
        epochs=1,
        steps_per_epoch=config.steps,
        callbacks=[_Schedule(config)],
        verbose=0,
    )
    if not math.isfinite(history.history["loss"][-1]):
        raise TrainingStopped(f"the loss is not finite: lower rate, now {config.rate:g}.")
    return backbone, head


class _Schedule(tf.keras.callbacks.Callback):
    """Sets the learning rate by the config's schedule."""

    def __init__(self, config: FeatureTraining) -> None:
        super().__init__()
        self._config = config

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the learning rate of the next steps."""
        middle = batch + STEPS_AT_ONCE / 2
        rate = self._config.learning_rates(middle / self._config.steps)["model"]
        self.model.optimizer.learning_rate.assign(rate)


def _features(backbone: tf.keras.Model, images: np.ndarray) -> np.ndarray:
    return backbone.predict(images, batch_size=500, verbose=0)


def _measure_layer(
    config: FeatureTraining, task: Task, prior: str, weight: float, seed: int
) -> Row:
    """Returns the result of the layer with one prior, λ and seed."""
    layer = CompressibleFeatures(weight, prior, quantization=config.quantization)
    backbone, head = train(config, task, seed, layer)
    layer.freeze()
    accuracies, strings = [], []
    for part in (task.test, task.validation):
        features = _features(backbone, part.images)
        strings += layer.coder.encode(features[None])
        decoded = layer.coder.decode(strings[-1:], len(features))[0]
        accuracies.append(task.accuracy(decoded, part.labels, head))
    count = len(task.test.labels)
    side = len(layer.coder.to_bytes())
    return Row(prior, weight, seed, 8 * len(strings[0]) / count, side, count, *accuracies)


def _measure_baselines(config: FeatureTraining, task: Task, seed: int) -> list[Row]:
    """Returns the results of the baselines on a network trained without the layer."""
    backbone, head = train(config, task, seed)
    known, test, validation = (
        _features(backbone, part.images) for part in (task.training, task.test, task.validation)
    )
    rows = []
    for setting, baseline in _baselines(config, known.shape[1], seed):
        try:
            baseline.fit(known)
        except ValueError as error:
            logging.info("%s is left out: %s", baseline.name, error)
            continue
        coded = baseline.coded(test)
        rows.append(
            Row(
                *(baseline.name, setting, seed, 8 * coded.data_bytes / len(test)),
                *(coded.side_bytes, len(test)),
                task.accuracy(coded.features, task.test.labels, head),
                task.accuracy(baseline.coded(validation).features, task.validation.labels, head),
            )
        )
    # The last row marks a complete seed.
    return [*rows, rows[0]._replace(method=UNCOMPRESSED)]


def _baselines(
    config: FeatureTraining, channels: int, seed: int
) -> Iterator[tuple[float, Baseline]]:
    """Yields all baselines with their settings; the first leaves features as they are."""
    yield 0.0, Float32()
    yield 0.0, Zip()
    yield 0.0, Int8()
    for rank in config.ranks:
        if rank <= channels:
            for step in config.steps_of_pca:
                yield step, PcaQuantization(rank, step)
    for parts, codewords in config.books:
        if channels % parts == 0:
            yield 0.0, ProductQuantization(parts, codewords, seed)


def read(path: pathlib.Path) -> list[Row]:
    """Returns the rows of a file of results; none if there is no file."""
    if not path.exists():
        return []
    types = [str, float, int, float, int, int, float, float]
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return [
                Row(*(kind(line[name]) for kind, name in zip(types, Row._fields)))
                for line in csv.DictReader(file)
            ]
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"{path} is damaged: remove it, or choose another --workdir."
            ) from None


def write(rows: Sequence[Row], path: pathlib.Path) -> None:
    """Writes rows atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in row])
    partial = path.with_suffix(".part")
    partial.write_text(text.getvalue(), encoding="utf-8")
    os.replace(partial, path)
