"""Codes for small sources: building, training, measuring and storing."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from absl import logging

from tfc_models import sources
from tfc_models.remote import read_weights, write_weights
from tfc_models.sources import Compressor, Figures, VectorQuantizer
from tfc_models.training import run_identity, source_plots
from tfc_models.training.config import SourceTraining
from tfc_models.training.loop import Run
from tfc_models.training.trainer import Losses, Trainer

SOURCES: dict[str, Callable[..., Any]] = {
    "banana": sources.banana,
    "laplace": sources.laplace,
    "ramp": sources.Ramp,
    "sawbridge": sources.Sawbridge,
    "sinusoid": sources.Sinusoid,
    "sphere": sources.Sphere,
}
# Seeds in addition to the config's: of samples for initialization, training and measurement.
START, TRAINING, MEASURING = 1, 2, 3
WEIGHTS, FIGURES = "weights.npz", "figures.json"
MAX_SAMPLES, MAX_NUMBERS = 400_000, 2**26  # of a set of samples


def build_source(config: SourceTraining) -> Any:
    """Returns the distribution that a config names."""
    if config.source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}; got {config.source!r}.")
    try:
        return SOURCES[config.source](**config.of_source)
    except TypeError as error:
        raise ValueError(f"{config.source}: {error}.") from None


def draw_samples(config: SourceTraining, use: int, count: int = 0) -> np.ndarray:
    """Returns seeded samples of a config's source.

    Args:
        config: settings of the run.
        use: START, TRAINING or MEASURING. Samples for MEASURING do not depend on the config's seed.
        count: number of samples; 0 for the config's.
    """
    source = build_source(config)
    (size,) = source.event_shape
    count = count or config.samples or min(MAX_SAMPLES, MAX_NUMBERS // size)
    seed = (use, 0 if use == MEASURING else config.seed)
    return source.sample(count, seed=seed).numpy()


def _nonlinear(config: SourceTraining, **arguments: Any) -> Compressor:
    (dimensions,) = build_source(config).event_shape
    return sources.nonlinear(dimensions, **arguments)


def _initialized_with_samples(
    constructor: Callable[..., Compressor], seeded: bool
) -> Callable[..., Compressor]:
    """Returns a function that calls a constructor with samples of a config's source."""

    def build(config: SourceTraining, **arguments: Any) -> Compressor:
        seed = {"seed": config.seed} if seeded else {}
        return constructor(draw_samples(config, START), **arguments, **seed)

    return build


def _lloyd(config: SourceTraining, **arguments: Any) -> Compressor:
    if not config.steps:
        raise ValueError("lloyd needs a budget in steps: the maximum number of iterations.")
    samples = draw_samples(config, START)
    return sources.lloyd(samples, **arguments, seed=config.seed, rounds=config.steps)


MODELS: dict[str, Callable[..., Compressor]] = {
    "linear": _initialized_with_samples(sources.linear, seeded=False),
    "klt": _initialized_with_samples(sources.klt, seeded=False),
    "nonlinear": _nonlinear,
    "vector-quantizer": _initialized_with_samples(sources.vector_quantizer, seeded=True),
    "lloyd": _lloyd,
}


def build(config: SourceTraining) -> Compressor:
    """Returns the untrained code of a config. Lloyd's algorithm runs to completion here."""
    if config.model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}; got {config.model!r}.")
    tf.keras.utils.set_random_seed(config.seed)
    try:
        code = MODELS[config.model](config, **config.arguments)
        code.losses_of(build_source(config).sample(2, seed=(0, 0)), tf.constant([0, 0]))
    except TypeError as error:
        raise ValueError(f"{config.model}: {error}.") from None
    low, high = code.lmbdas
    if outside := [lmbda for lmbda in config.curve if not low <= lmbda <= high]:
        raise ValueError(
            f"curve must be within the code's lambdas, {low:g} to {high:g}; got {outside[0]:g}."
        )
    if low < high and not config.curve:
        raise ValueError("a code for a range of lambdas is measured along a curve: set curve=(…).")
    return code


def save(code: Compressor, path: pathlib.Path) -> None:
    """Writes a code's variables in their order."""
    write_weights(path, {f"{i:02d}": v.numpy() for i, v in enumerate(code.variables)})


def load(config: SourceTraining, path: pathlib.Path) -> Compressor:
    """Returns the code of a config with the values that `save` wrote."""
    arrays = read_weights(path)
    values = [arrays[name] for name in sorted(arrays)]
    if config.model == "lloyd":
        codebook, logits = values
        mean = config.arguments.get("mean", False)
        probabilities = np.exp(logits.astype(np.float64))
        return VectorQuantizer(codebook, config.arguments["lmbda"], probabilities, mean)
    code = build(config)
    if [v.shape for v in values] != [tuple(v.shape) for v in code.variables]:
        raise ValueError(f"{path} holds another code than the config's.")
    for variable, value in zip(code.variables, values):
        variable.assign(value)
    code.anneal(1.0)
    return code


class Outcome(NamedTuple):
    """Figures of a code at a lambda."""

    lmbda: float
    figures: Figures


def measure(code: Compressor, config: SourceTraining, samples: np.ndarray) -> list[Outcome]:
    """Measures a code at each lambda of the config's curve, or at its only lambda."""
    lmbdas = config.curve or (code.lmbda,)
    return [Outcome(lmbda, sources.measured(code, samples, lmbda)) for lmbda in lmbdas]


def _as_json(config: SourceTraining) -> Any:
    """Returns a config as JSON represents it, with lists for tuples."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def write(outcomes: list[Outcome], config: SourceTraining, path: pathlib.Path) -> None:
    """Writes figures with their config, atomically."""
    figures = [{"lmbda": o.lmbda, **o.figures._asdict()} for o in outcomes]
    partial = path.with_suffix(".part")
    content = {"config": _as_json(config), "figures": figures}
    partial.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(partial, path)


def read(config: SourceTraining, path: pathlib.Path) -> list[Outcome]:
    """Reads what `write` wrote; an empty list if there is no file, or one of another config."""
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    if content["config"] != _as_json(config):
        return []
    return [Outcome(row.pop("lmbda"), Figures(**row)) for row in content["figures"]]


class SourceTrainer(Trainer):
    """Trainer of a code on samples drawn at each step. A batch is the number of samples."""

    config: SourceTraining

    def __init__(self, model: Compressor, config: SourceTraining) -> None:
        groups = ["code"] * len(model.trainable_variables)
        self._source = build_source(config)
        self._build(model, config, groups, ["code"])

    def before_step(self, fraction: float) -> None:
        """Anneals soft rounding."""
        self.model.anneal(fraction)

    def _losses(self, batch: tf.Tensor) -> Losses:
        """Returns the losses of `batch` samples, which the seed and the step determine."""
        step = tf.cast(self.step, tf.int32)
        seed = tf.stack([tf.constant(TRAINING + 8 * self.config.seed), step])
        sample_seed, noise_seed = tf.unstack(tfp.random.split_seed(seed, n=2, salt="training"))
        return self.model.losses_of(self._source.sample(batch, seed=sample_seed), noise_seed)

    def save_weights(self, path: pathlib.Path) -> None:
        """Writes the averaged weights."""
        self.with_average(lambda: save(self.model, path))


class SourceRun(Run):
    """A run that trains on samples of a source; see `Run`."""

    def __init__(self, trainer: SourceTrainer, workdir: pathlib.Path) -> None:
        super().__init__(trainer, workdir, "samples", None)

    def _batches(self) -> Iterator[Any]:
        return itertools.repeat(tf.constant(self.config.batch))


def train_code(config: SourceTraining, workdir: pathlib.Path) -> Compressor:
    """Returns a config's code, trained from the last checkpoint in the work folder, if any."""
    run_identity.check(workdir, config)
    code = build(config)
    if config.model == "lloyd":
        run_identity.write(workdir, config)
        save(code, workdir / WEIGHTS)
        return code
    trainer = SourceTrainer(code, config)
    SourceRun(trainer, workdir).begin(trainer.reset_average)
    # A run killed between writing a checkpoint and the weights would leave older weights.
    trainer.save_weights(workdir / WEIGHTS)
    for variable, average in zip(trainer.variables, trainer.average):
        variable.assign(average)
    code.anneal(1.0)
    return code


def train_and_measure(config: SourceTraining, workdir: pathlib.Path) -> list[Outcome]:
    """Trains, measures and plots a code; returns stored figures if the run had finished."""
    outcomes = read(config, workdir / FIGURES)
    if not outcomes:
        code = train_code(config, workdir)
        samples = draw_samples(config, MEASURING)
        outcomes = measure(code, config, samples)
        for o in outcomes:
            logging.info("lambda %g: %s cost %.4f", *(o.lmbda, o.figures, o.figures.cost(o.lmbda)))
        source_plots.plot_code(code, samples, workdir)
        write(outcomes, config, workdir / FIGURES)
    return outcomes
