"""Training of codes for small sources, and the table of their results."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import ROOT, completed
from tfc_models import sources
from tfc_models.training import config as configs
from tfc_models.training import source_codes
from tfc_models.training.config import SourceTraining
from training.experiments import source_comparison
from training.experiments.source_comparison import Gate, Trainings

SMALL = ["--set=samples=3000", "--set=batch=64", "--set=arguments.hidden=(8,)"]


def command(*arguments: str, config: str = "banana") -> list[str]:
    program = [sys.executable, "-m", "training.sources"]
    return [*program, f"--config={config}", *arguments]


def run(*arguments: str, config: str = "banana", code: int = 0) -> subprocess.CompletedProcess[str]:
    return completed(command(*arguments, config=config), code)


@pytest.mark.slow
def test_an_interrupted_run_resumes_and_prints_its_figures(tmp_path):
    flags = [f"--workdir={tmp_path}", "--set=log_steps=1", *SMALL]
    with subprocess.Popen(
        command(*flags, "--steps=100000"), cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if "step 5 " in line:
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stderr.read()
    assert "saved at step" in rest and process.returncode == 128 + signal.SIGTERM
    assert not (tmp_path / "figures.json").exists()
    stopped = int(rest.split("saved at step ")[1].split(".")[0])
    done = run(*flags, f"--steps={stopped + 20}")
    assert f"resuming from step {stopped}" in done.stderr
    found = json.loads(done.stdout)
    assert found["cost"] == pytest.approx(found["bits"] + 8.0 * found["distortion"])
    (row,) = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert row["coded"] == found["coded"]
    for name in ("cells", "traversal"):
        with Image.open(tmp_path / f"{name}.webp") as image:
            assert image.convert("L").getextrema()[0] < 60 < image.width
    # A finished run is not repeated; a longer one resumes; another code is refused.
    again = run(*flags, f"--steps={stopped + 20}")
    assert again.stdout == done.stdout and "resuming" not in again.stderr
    longer = run(*flags, f"--steps={stopped + 25}")
    assert f"resuming from step {stopped + 20}" in longer.stderr
    assert json.loads(longer.stdout) != found
    refused = run(f"--workdir={tmp_path}", *SMALL, "--set=arguments.lmbda=9.0", code=1)
    assert "holds a run with another lmbda" in refused.stderr.splitlines()[-1]


@pytest.mark.slow
def test_errors_are_reported_in_one_line(tmp_path):
    said = run(f"--workdir={tmp_path / 'out'}", "--set=arguments.depth=3", code=1).stderr
    assert "nonlinear: " in said.splitlines()[-1] and "Traceback" not in said
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("source=cherry", "source must be one of banana, laplace"),
        ("model=network", "model must be one of linear, klt"),
        ("of_source.points=3", r"banana: banana\(\) got an unexpected keyword"),
        ("arguments.quantization=dither", "quantization is one of"),
        ("arguments.lmbda=0.0", "lmbda is above 0"),
        ("samples=-1", "samples must be 0 or more"),
        ("rate=0.0", "rate must be above 0"),
        ("curve=(1.0,)", "curve must be within the code's lambdas, 8 to 8; got 1"),
        ("arguments.lmbda=(1.0, 9.0)", "is measured along a curve"),
    ],
)
def test_invalid_settings_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        source_codes.build(configs.read("banana", [change], SourceTraining))


def small(name: str, **changes) -> SourceTraining:
    """Returns a config with few steps and samples."""
    config = configs.read(name, [], SourceTraining)
    config = dataclasses.replace(config, samples=500, steps=3, batch=32, **changes)
    if config.source == "sawbridge":
        config = dataclasses.replace(config, of_source={"points": 64})
    return config


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", ["sawbridge", "banana", "banana_ecvq", "sawbridge_klt"])
def test_the_average_is_saved(tmp_path, name):
    config = small(name)
    trainer = source_codes.SourceTrainer(source_codes.build(config), config)
    trainer.reset_average()
    for _ in range(3):
        trainer.train(tf.constant(config.batch), {"code": 0.05})
    trainer.save_weights(tmp_path / "weights.npz")
    again = source_codes.load(config, tmp_path / "weights.npz")
    fresh = source_codes.build(config)
    for kept, expected, first in zip(
        again.trainable_variables, trainer.average, fresh.trainable_variables
    ):
        np.testing.assert_allclose(kept, expected, rtol=1e-6)
        assert not np.array_equal(kept, first), kept.name
    # Coding does not add variables.
    samples = source_codes.draw_samples(config, source_codes.MEASURING, 50)
    count = len(again.variables)
    again.compress(tf.constant(samples))
    assert len(again.variables) == count
    source_codes.source_plots.plot_code(again, samples, tmp_path)
    assert (tmp_path / "cells.webp").exists() == (config.source == "banana")
    assert (tmp_path / "traversal.webp").exists() == (config.model in ("nonlinear", "klt"))


def test_codes_by_lloyds_algorithm_are_saved(tmp_path):
    config = small("banana_lloyd")
    code = source_codes.train_code(config, tmp_path)
    again = source_codes.load(config, tmp_path / "weights.npz")
    samples = source_codes.draw_samples(config, source_codes.MEASURING, 50)
    for a, b in zip(code.coded(samples), again.coded(samples)):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_figures_are_read_only_for_their_config(tmp_path):
    """Figures of a shorter run are not used."""
    config = small("banana_lloyd")
    found = source_codes.train_and_measure(config, tmp_path)
    path = tmp_path / "figures.json"
    assert source_codes.read(config, path) == found
    assert source_codes.read(dataclasses.replace(config, steps=4), path) == []
    assert source_codes.read(config, tmp_path / "none.json") == []
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".json", ".npz", ".webp"]
    with pytest.raises(ValueError, match="holds a run with another lmbda"):
        other = {**config.arguments, "lmbda": 2.0}
        source_codes.train_and_measure(dataclasses.replace(config, arguments=other), tmp_path)


@pytest.mark.exhaustive
def test_a_curve_is_measured_at_every_lambda():
    config = small("banana_rates")
    code = source_codes.build(config)
    samples = source_codes.draw_samples(config, source_codes.MEASURING)
    found = source_codes.measure(code, config, samples)
    assert [o.lmbda for o in found] == list(config.curve)
    expected = float(tf.reduce_mean(code.rate(tf.constant(samples), 3.0)))
    assert found[1].figures.bits == pytest.approx(expected, rel=1e-5)


def test_every_step_draws_new_samples_and_noise(monkeypatch):
    config = small("banana")
    trainer = source_codes.SourceTrainer(source_codes.build(config), config)
    seen = []
    monkeypatch.setattr(
        trainer.model, "losses_of", lambda samples, seed: seen.append((samples.numpy(), seed)) or {}
    )
    for step in range(3):
        trainer.step.assign(step)
        trainer._losses(tf.constant(50))
    measuring = source_codes.draw_samples(config, source_codes.MEASURING, 50)
    drawn = [samples for samples, _ in seen] + [measuring]
    for i, j in ((0, 1), (1, 2), (0, 2), (0, 3)):
        assert not np.intersect1d(drawn[i], drawn[j]).size
    assert len({tuple(seed.numpy()) for _, seed in seen}) == 3


def test_measuring_uses_other_samples_than_training():
    config = configs.read("banana", ["seed=1"], SourceTraining)
    start, measuring = (
        source_codes.draw_samples(config, use, 40)
        for use in (source_codes.START, source_codes.MEASURING)
    )
    assert not np.intersect1d(start, measuring).size
    other = dataclasses.replace(config, seed=2)
    np.testing.assert_array_equal(
        source_codes.draw_samples(other, source_codes.MEASURING, 40), measuring
    )
    assert not np.allclose(source_codes.draw_samples(other, source_codes.START, 40), start)


def test_gates():
    assert Gate("a", 1.0, 0.9, 1.1).met and not Gate("a", 1.2, 0.9, 1.1).met
    assert not Gate("a", float("nan"), 0.0, 9.0).met
    text = source_comparison.gate_table([Gate("a", 1.2, 0.9, 1.1)])
    assert "| a | 1.200 | 0.90 to 1.10 | **no** |" in text


class FakeTrainings:
    """Stand-in for `Trainings` with invented figures."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str, of: str, **changes) -> list[source_codes.Outcome]:
        self.names.append(name)
        curve = source_comparison.RATES if of == "banana_rates" else (changes.get("lmbda", 8.0),)
        found = []
        for lmbda in curve:
            bits, error = 4.3, 0.2
            if of == "sawbridge":
                cells = sources.sawbridge_cells(lmbda)
                bits, error = math.log2(cells) + 0.01 * changes["seed"], 1 / (6 * cells)
            elif of == "banana_linear":
                bits = 5.25
            elif of in ("banana_lloyd", "banana_ecvq"):
                bits = 4.28
            found.append(source_codes.Outcome(lmbda, sources.Figures(bits, bits, bits, error)))
        return found


def test_tables_and_gates(tmp_path):
    found = {
        name: part(FakeTrainings(), tmp_path) for name, part in source_comparison.PARTS.items()
    }
    asked = [gate for _, own in found.values() for gate in own]
    assert len(asked) == 3 + 6 + 6 and all(gate.met for gate in asked), asked
    assert "| linear | 6.87 | 6.850 |" in found["banana"][0]
    assert "| optimum, bits | 1.808 | 3.087 | 4.069 |" in found["sawbridge"][0]
    for name in ("rates", "sawbridge", "circle"):
        with Image.open(tmp_path / f"sources_{name}.webp") as image:
            assert image.width > 600
    assert all(len(text.splitlines()) > 3 for text, _ in found.values())


def test_a_code_at_zero_rate_fails_the_gates(tmp_path):
    """It is at the end of the optimal curve."""

    class ZeroRate(FakeTrainings):
        def __call__(self, name: str, of: str, **changes) -> list[source_codes.Outcome]:
            super().__call__(name, of, **changes)
            return [source_codes.Outcome(1.0, sources.Figures(0.0, 0.0, 0.0, 1 / 6))]

    _, asked = source_comparison.sawbridge(ZeroRate(), tmp_path)
    assert sum(not gate.met for gate in asked) == 3


@pytest.mark.exhaustive
def test_a_shortened_banana_training(tmp_path):
    """The codes are ranked as in the table after a fifth of the training."""
    train = Trainings(tmp_path, share=0.2, samples=30_000)
    cost = {
        name: train(name, of)[0].figures.cost(source_comparison.LMBDA)
        for name, of in (("linear", "banana_linear"), ("soft", "banana"), ("l", "banana_lloyd"))
    }
    assert 6.80 < cost["linear"] < 7.4
    assert 5.9 < cost["soft"] < 6.3 and cost["soft"] < cost["linear"] - 0.6
    assert 5.85 < cost["l"] < 6.05 and cost["l"] < cost["soft"]


@pytest.mark.exhaustive
def test_a_shortened_sawbridge_training(tmp_path):
    """Networks are near the optimum, and far below the linear transform, at 64 points."""
    config = configs.read("sawbridge", [], SourceTraining)
    changes = {"lmbda": 20.0, "hidden": (40, 40), "latents": 4}
    config = dataclasses.replace(
        config,
        arguments={**config.arguments, **changes},
        of_source={"points": 64},
        batch=256,
        rate=3e-3,
        samples=10_000,
        steps=1500,
    )
    ((_, found),) = source_codes.train_and_measure(config, tmp_path)
    gap = found.joint - sources.sawbridge_entropy(found.distortion)
    # Drops at 64 positions are slightly easier to code than at any position.
    assert -0.08 < gap < 0.2
    assert found.coded < sources.sawbridge_water_filling(found.distortion)
