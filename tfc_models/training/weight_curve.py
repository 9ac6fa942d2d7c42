"""Curve of file size against error of a network, with other methods for comparison."""

from __future__ import annotations

import csv
import io
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from tfc_models import weights
from tfc_models.remote import write_file
from tfc_models.training import weight_baselines
from tfc_models.training.mnist import LabelledImages, Splits
from tfc_models.training.weight_config import WeightTraining
from tfc_models.training.weight_networks import NETWORKS

TABLE = "sizes.csv"
IDENTITY = "config.json"
NETWORK = "network.keras"
ORIGINAL = "float32"
COMPRESSIBLE = "entropy-penalized"


class Point(NamedTuple):
    """One compressed network: method, its setting, size of the file and errors in percent."""

    method: str
    setting: float
    bytes: int
    validation_error: float
    test_error: float


class _LearningRates(tf.keras.optimizers.schedules.LearningRateSchedule):
    """Learning rates of a config, from a table of its budget."""

    def __init__(self, config: WeightTraining) -> None:
        fractions = np.arange(config.steps) / config.steps
        self._table = tf.constant([config.learning_rates(f)["model"] for f in fractions])

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        last = tf.shape(self._table)[0] - 1
        return tf.gather(self._table, tf.minimum(tf.cast(step, tf.int32), last))


def _trained(
    model: tf.keras.Model, data: LabelledImages, config: WeightTraining, **options: Any
) -> tf.keras.Model:
    """Trains a model for the config's steps."""
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = tf.keras.optimizers.Adam(_LearningRates(config), global_clipnorm=config.clip_norm)
    model.compile(optimizer, loss, jit_compile=False)
    examples = tf.data.Dataset.from_tensor_slices(tuple(data))
    examples = examples.shuffle(len(data.labels), seed=config.seed).repeat()
    batches = examples.batch(config.batch, drop_remainder=True)
    model.fit(batches, steps_per_epoch=config.steps, verbose=0, **options)
    return model


def error_of(model: tf.keras.Model, data: LabelledImages) -> float:
    """Returns the share of wrong classes in percent."""
    logits = model.predict(data.images, batch_size=500, verbose=0)
    return 100.0 * float(np.mean(np.argmax(logits, axis=-1) != data.labels))


def measure(config: WeightTraining, source: str, folder: pathlib.Path) -> list[Point]:
    """Returns all points; those of an interrupted run are read from its table.

    Args:
        config: settings.
        source: of the data (see `weight_networks`).
        folder: receives the table, the network and the compressed files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_identity(config, source, folder / IDENTITY)
    splits = NETWORKS[config.model].load(source)
    points = read_points(folder / TABLE) if (folder / TABLE).exists() else []
    network = _network(config, splits, folder / NETWORK)
    done = {(point.method, point.setting) for point in points}
    for method, setting, make in _jobs(config, splits, network, folder):
        if (method, setting) in done:
            continue
        tf.keras.utils.set_random_seed(config.seed)
        model, size = make()
        errors = error_of(model, splits.validation), error_of(model, splits.test)
        points.append(Point(method, setting, size, *errors))
        logging.info(
            "%s %g: %d bytes, error %.2f %% (validation %.2f %%)", *points[-1][:3], *errors[::-1]
        )
        write_points(points, folder / TABLE)
    return points


def _jobs(
    config: WeightTraining, splits: Splits, network: tf.keras.Model, folder: pathlib.Path
) -> Iterator[tuple[str, float, Callable[[], tuple[tf.keras.Model, int]]]]:
    """Yields method, setting and a function that returns the decoded model and its bytes."""
    values = _kernels_and_biases(network)
    floats = sum(4 * value.size for value in values.values())
    yield ORIGINAL, 0.0, lambda: (network, floats)
    yield "float32 + zip", 0.0, lambda: (network, weight_baselines.zipped_float_bytes(values))
    yield "int8 + zip", 8.0, lambda: _with(network, *weight_baselines.rounded_to_int8(values))
    for rate in config.rate_weights:
        yield (
            COMPRESSIBLE,
            rate,
            lambda rate=rate: _entropy_penalized(  # type: ignore[misc]
                config, splits, network, rate, folder
            ),
        )
    for share in config.removed:
        yield (
            "pruning + Huffman",
            share,
            lambda share=share: _pruned(  # type: ignore[misc]
                config, splits, network, share
            ),
        )


def _network(config: WeightTraining, splits: Splits, path: pathlib.Path) -> tf.keras.Model:
    """Returns the network that was trained without compression."""
    if not path.exists():
        tf.keras.utils.set_random_seed(config.seed)
        network = _trained(NETWORKS[config.model].build(), splits.training, config)
        partial = path.with_name(f"partial-{path.name}")
        _plain(network).save(partial)
        partial.replace(path)
    return tf.keras.models.load_model(path, compile=False)


def _plain(network: tf.keras.Model) -> tf.keras.Model:
    """Returns a copy that was not compiled, which Keras saves without the schedule."""
    copy = tf.keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return copy


def _entropy_penalized(
    config: WeightTraining,
    splits: Splits,
    network: tf.keras.Model,
    rate: float,
    folder: pathlib.Path,
) -> tuple[tf.keras.Model, int]:
    copy = weights.compressible(network, rate, prior=config.prior)
    data = weights.compress(_trained(copy, splits.training, config))
    write_file(folder / f"{config.model}-{rate:g}{weights.SUFFIX}", data)
    return weights.decompress(data, network), len(data)


def _pruned(
    config: WeightTraining, splits: Splits, network: tf.keras.Model, share: float
) -> tuple[tf.keras.Model, int]:
    """Returns a network that was trained again without its smallest weights."""
    values = _kernels_and_biases(network)
    masks = weight_baselines.smallest_removed(values, share)
    copy, _ = _with(network, values, 0)
    variables = {name: variable for name, variable in _variables(copy) if name in masks}

    def remove(batch: int = 0, logs: Any = None) -> None:
        for name, variable in variables.items():
            variable.assign(variable * masks[name])

    remove()
    callback = tf.keras.callbacks.LambdaCallback(on_train_batch_end=remove)
    _trained(copy, splits.training, config, callbacks=[callback])
    clustered = weight_baselines.pruned_and_clustered(
        _kernels_and_biases(copy), masks, config.cluster_bits
    )
    return _with(copy, *clustered)


def _variables(model: tf.keras.Model) -> Iterator[tuple[str, tf.Variable]]:
    """Yields the variables of all layers, with names that are unique in the model."""
    for layer in model.layers:
        for variable in layer.weights:
            yield f"{layer.name}/{variable.name.split('/')[-1]}", variable


def _kernels_and_biases(model: tf.keras.Model) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in _variables(model)}


def _with(
    network: tf.keras.Model, values: dict[str, np.ndarray], size: int
) -> tuple[tf.keras.Model, int]:
    """Returns a copy of a network with other weights, and the size."""
    copy = tf.keras.models.clone_model(network)
    for name, variable in _variables(copy):
        variable.assign(values[name])
    return copy, size


def _check_identity(config: WeightTraining, source: str, path: pathlib.Path) -> None:
    """Raises ValueError if a folder has the results of other settings."""
    identity = json.dumps({**config.identity, "data": source}, indent=2)
    if path.exists() and path.read_text(encoding="utf-8") != identity:
        raise ValueError(f"{path.parent} has results of other settings: name another --workdir.")
    write_file(path, identity.encode())


def read_points(path: pathlib.Path) -> list[Point]:
    """Returns the points of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Point(
                row["method"],
                float(row["setting"]),
                int(row["bytes"]),
                float(row["validation_error"]),
                float(row["test_error"]),
            )
            for row in csv.DictReader(file)
        ]


def write_points(points: list[Point], path: pathlib.Path) -> None:
    """Writes a table of points. The write is atomic."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Point._fields)
    for point in points:
        errors = (f"{error:.3f}" for error in point[3:])
        writer.writerow([point.method, f"{point.setting:g}", point.bytes, *errors])
    write_file(path, text.getvalue().encode())
