"""Trains networks with compressible features at several rates, and measures the baselines."""

from __future__ import annotations

import csv
import io
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf
from absl import logging

from tfc_models.features.baselines import (
    Baseline,
    Float32,
    Int8,
    PcaQuantization,
    ProductQuantization,
    Zip,
)
from tfc_models.remote import write_file
from tfc_models.training import feature_tasks, run_identity
from tfc_models.training.feature_config import FeatureTraining
from tfc_models.training.feature_tasks import Task
from tfc_models.training.feature_training import FeatureNetwork

RESULTS = "results.csv"
UNCOMPRESSED = "uncompressed"
FURTHER = 1000
"""Difference between the seeds of the first and the further training."""


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
    plain = FeatureNetwork(config, task)
    networks = {prior: FeatureNetwork(config, task, prior) for prior in config.priors}
    jobs = [(prior, weight) for prior in config.priors for weight in config.weights]
    # All methods of a seed follow each other, so that an interrupted run has comparable results.
    for seed in range(config.seed, config.seed + config.seeds):
        done = {(row.method, row.setting) for row in rows if row.seed == seed}
        if done >= {(UNCOMPRESSED, 0.0), *jobs}:
            continue
        plain.restart(seed)
        plain.train(config.steps, seed)
        features = plain.features(task.training.images)
        for prior, weight in jobs:
            if (prior, weight) in done:
                continue
            started, network = time.monotonic(), networks[prior]
            tf.keras.utils.set_random_seed(seed)
            network.start_from(plain, features)
            network.train(config.further_steps, seed + FURTHER, weight)
            rows.append(_measure_layer(task, network, prior, weight, seed))
            write(rows, workdir / RESULTS)
            logging.info("%.0f s: %s", time.monotonic() - started, rows[-1])
        if (UNCOMPRESSED, 0.0) not in done:
            # The uncompressed network has as many steps as the others.
            plain.train(config.further_steps, seed + FURTHER)
            rows += _measure_baselines(config, task, plain, seed)
            write(rows, workdir / RESULTS)
            logging.info("%s", rows[-1])
    return rows


def _measure_layer(
    task: Task, network: FeatureNetwork, prior: str, weight: float, seed: int
) -> Row:
    """Returns the result of a trained network with the layer."""
    layer = network.layer
    assert layer is not None
    layer.freeze()
    accuracies: list[float] = []
    strings: list[bytes] = []
    for part in (task.test, task.validation):
        features = network.features(part.images)
        strings += layer.coder.encode(features[None])
        decoded = layer.coder.decode(strings[-1:], len(features))[0]
        accuracies.append(task.accuracy(decoded, part.labels, network.head))
    count = len(task.test.labels)
    side = len(layer.coder.to_bytes())
    return Row(prior, weight, seed, 8 * len(strings[0]) / count, side, count, *accuracies)


def _measure_baselines(
    config: FeatureTraining, task: Task, network: FeatureNetwork, seed: int
) -> list[Row]:
    """Returns the results of the baselines on a network trained without the layer."""
    known, test, validation = (
        network.features(part.images) for part in (task.training, task.test, task.validation)
    )
    rows = []
    for setting, baseline in _baselines(config, known.shape[1], seed):
        try:
            baseline.fit(known)
        except ValueError as error:
            logging.info("%s is left out: %s", baseline.name, error)
            continue
        coded = baseline.coded(test)
        decoded = baseline.coded(validation).features
        rows.append(
            Row(
                *(baseline.name, setting, seed, 8 * coded.data_bytes / len(test)),
                *(coded.side_bytes, len(test)),
                task.accuracy(coded.features, task.test.labels, network.head),
                task.accuracy(decoded, task.validation.labels, network.head),
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
    write_file(path, text.getvalue().encode())
