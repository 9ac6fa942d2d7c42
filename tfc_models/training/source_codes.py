"""Codes for small sources, as configs describe them: built, trained, measured and kept."""

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
from tfc_models.training import identity, source_plots
from tfc_models.training.config import SourceTraining
from tfc_models.training.loop import Run
from tfc_models.training.trainer import Losses, Trainer

SOURCES = {
    "banana": sources.banana,
    "laplace": sources.laplace,
    "ramp": sources.Ramp,
    "sawbridge": sources.Sawbridge,
    "sinusoid": sources.Sinusoid,
    "sphere": sources.Sphere,
}
# Seeds beside the config's own: for what codes begin with, what they train on, and are measured on.
START, TRAINING, MEASURING = 1, 2, 3
WEIGHTS, FIGURES = "weights.npz", "figures.json"
MOST_SAMPLES, MOST_NUMBERS = 400_000, 2**26


def source_of(config: SourceTraining) -> Any:
    """The distribution that a config names."""
    if config.source not in SOURCES:
        raise ValueError(f"source is one of {', '.join(SOURCES)}; got {config.source!r}.")
    try:
        return SOURCES[config.source](**config.of_source)
    except TypeError as error:
        raise ValueError(f"{config.source}: {error}.") from None


def samples_of(config: SourceTraining, use: int, count: int = 0) -> np.ndarray:
    """Seeded draws, as many as the config says; those to measure with have always one seed."""
    source = source_of(config)
    (size,) = source.event_shape
    count = count or config.samples or min(MOST_SAMPLES, MOST_NUMBERS // size)
    seed = (use, 0 if use == MEASURING else config.seed)
    return source.sample(count, seed=seed).numpy()


def _nonlinear(config: SourceTraining, **arguments: Any) -> Compressor:
    (dimensions,) = source_of(config).event_shape
    return sources.nonlinear(dimensions, **arguments)


def _of_samples(make: Callable[..., Compressor], seeded: bool) -> Callable[..., Compressor]:
    def made(config: SourceTraining, **arguments: Any) -> Compressor:
        seed = {"seed": config.seed} if seeded else {}
        return make(samples_of(config, START), **arguments, **seed)

    return made


def _lloyd(config: SourceTraining, **arguments: Any) -> Compressor:
    if not config.steps:
        raise ValueError("lloyd's budget is steps, its rounds at most.")
    options = {"seed": config.seed, "rounds": config.steps}
    return sources.lloyd(samples_of(config, START), **arguments, **options)


MODELS: dict[str, Callable[..., Compressor]] = {
    "linear": _of_samples(sources.linear, seeded=False),
    "klt": _of_samples(sources.klt, seeded=False),
    "nonlinear": _nonlinear,
    "vector-quantizer": _of_samples(sources.vector_quantizer, seeded=True),
    "lloyd": _lloyd,
}


def build(config: SourceTraining) -> Compressor:
    """The code of a config, untrained; Lloyd's is done then."""
    if config.model not in MODELS:
        raise ValueError(f"model is one of {', '.join(MODELS)}; got {config.model!r}.")
    tf.keras.utils.set_random_seed(config.seed)
    try:
        code = MODELS[config.model](config, **config.arguments)
        code.losses_of(source_of(config).sample(2, seed=(0, 0)), tf.constant([0, 0]))
    except TypeError as error:
        raise ValueError(f"{config.model}: {error}.") from None
    low, high = code.lmbdas
    if outside := [lmbda for lmbda in config.curve if not low <= lmbda <= high]:
        raise ValueError(f"curve has a lambda of {outside[0]:g}; the code's: {low:g} to {high:g}.")
    if low < high and not config.curve:
        raise ValueError("a code for a range of lambdas is measured along a curve: set curve=(…).")
    return code


def save(code: Compressor, path: pathlib.Path) -> None:
    """Its variables, in their order."""
    write_weights(path, {f"{i:02d}": v.numpy() for i, v in enumerate(code.variables)})


def load(config: SourceTraining, path: pathlib.Path) -> Compressor:
    """The code of a config with the values that `save` wrote."""
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
    """A code at a lambda, and its figures."""

    lmbda: float
    figures: Figures


def measure(code: Compressor, config: SourceTraining, samples: np.ndarray) -> list[Outcome]:
    """At every lambda of the config's curve; with one lambda, at that."""
    lmbdas = config.curve or (code.lmbda,)
    return [Outcome(lmbda, sources.measured(code, samples, lmbda)) for lmbda in lmbdas]


def _told(config: SourceTraining) -> Any:
    """All that a config says, as JSON has it."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def write(outcomes: list[Outcome], config: SourceTraining, path: pathlib.Path) -> None:
    """Figures, and the config that they are of: all of it, or nothing."""
    found = [{"lmbda": o.lmbda, **o.figures._asdict()} for o in outcomes]
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps({"config": _told(config), "figures": found}, indent=2) + "\n")
    os.replace(partial, path)


def read(config: SourceTraining, path: pathlib.Path) -> list[Outcome]:
    """What `write` wrote of this config; nothing, where it was of another or there is none."""
    if not path.exists():
        return []
    kept = json.loads(path.read_text())
    if kept["config"] != _told(config):
        return []
    return [Outcome(row.pop("lmbda"), Figures(**row)) for row in kept["figures"]]


class SourceTrainer(Trainer):
    """A code, its optimizer, and samples that are drawn at every step."""

    def __init__(self, model: Compressor, config: SourceTraining) -> None:
        kinds = ["code"] * len(model.trainable_variables)
        self._source = source_of(config)
        self._build(model, config, kinds, ["code"])

    def before_step(self, fraction: float) -> None:
        """Soft rounding becomes sharper."""
        self.model.anneal(fraction)

    def _losses_of(self, batch: tf.Tensor) -> Losses:
        """Of samples of their own for every step; the batch says of how many."""
        step = tf.cast(self.step, tf.int32)
        seed = tf.stack([tf.constant(TRAINING + 8 * self.config.seed), step])
        of_samples, of_noise = tf.unstack(tfp.random.split_seed(seed, n=2, salt="training"))
        return self.model.losses_of(self._source.sample(batch, seed=of_samples), of_noise)

    def save_weights(self, path: pathlib.Path) -> None:
        """Writes the averaged weights."""
        self.with_average(lambda: save(self.model, path))


class SourceRun(Run):
    """A run on samples of a source; see `Run`."""

    def __init__(self, trainer: SourceTrainer, workdir: pathlib.Path) -> None:
        super().__init__(trainer, workdir, "samples", None)

    def _batches(self) -> Iterator[Any]:
        return itertools.repeat(tf.constant(self.config.batch))


def trained(config: SourceTraining, workdir: pathlib.Path) -> Compressor:
    """A config's code, trained in a folder, or as far as that folder's run had come."""
    identity.check(workdir, config)
    code = build(config)
    if config.model == "lloyd":
        identity.keep(workdir, config)
        save(code, workdir / WEIGHTS)
        return code
    trainer = SourceTrainer(code, config)
    SourceRun(trainer, workdir).begin(trainer.start_average)
    # Whoever is killed between a checkpoint and the weights has older ones.
    trainer.save_weights(workdir / WEIGHTS)
    for variable, average in zip(trainer.variables, trainer.average):
        variable.assign(average)
    code.anneal(1.0)
    return code


def outcomes_of(config: SourceTraining, workdir: pathlib.Path) -> list[Outcome]:
    """Trains, measures and draws, or reads what this config's run had come to."""
    found = read(config, workdir / FIGURES)
    if not found:
        code = trained(config, workdir)
        samples = samples_of(config, MEASURING)
        found = measure(code, config, samples)
        for o in found:
            logging.info("lambda %g: %s cost %.4f", *(o.lmbda, o.figures, o.figures.cost(o.lmbda)))
        source_plots.draw(code, samples, workdir)
        write(found, config, workdir / FIGURES)
    return found
