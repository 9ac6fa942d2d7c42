"""Training codes for small sources as a user does, and the table of them, shortened."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tfc_models import sources
from training import config as configs
from training import source_codes, source_table
from training.config import SourceTraining
from training.source_table import Gate, Trainings

SMALL = ["--set=samples=3000", "--set=batch=64", "--set=arguments.hidden=(8,)"]


def command(*arguments: str, of: str = "banana") -> list[str]:
    program = [sys.executable, "-m", "training.sources"]
    return [*program, f"--config=training/configs/{of}.py", *arguments]


def run(*arguments: str, of: str = "banana", code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command(*arguments, of=of),
        *(),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.slow
def test_a_killed_run_goes_on_and_says_what_it_reached(tmp_path):
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
    assert not (tmp_path / "figures.csv").exists()
    stopped = int(rest.split("saved at step ")[1].split(".")[0])
    done = run(*flags, f"--steps={stopped + 20}")
    assert f"going on from step {stopped}" in done.stderr
    found = json.loads(done.stdout)
    assert found["cost"] == pytest.approx(found["bits"] + 8.0 * found["distortion"])
    with (tmp_path / "figures.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["coded"]) == found["coded"]
    for name in ("cells", "traversal"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.convert("L").getextrema()[0] < 60 < picture.width
    # What is there is not trained again; another code is refused.
    assert run(*flags, f"--steps={stopped + 20}").stdout == done.stdout
    refused = run(f"--workdir={tmp_path}", *SMALL, "--set=arguments.lmbda=9.0", code=1)
    assert "holds a run with another lmbda" in refused.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_mistake_is_one_line(tmp_path):
    said = run(f"--workdir={tmp_path / 'out'}", "--set=arguments.depth=3", code=1).stderr
    assert "nonlinear: " in said.splitlines()[-1] and "Traceback" not in said
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("source=cherry", "source is one of banana, laplace"),
        ("model=network", "model is one of linear, klt"),
        ("of_source.points=3", r"banana: banana\(\) got an unexpected keyword"),
        ("arguments.quantization=dither", "quantization is one of"),
        ("arguments.lmbda=0.0", "lmbda is above 0"),
        ("samples=0", "samples are 1 or more"),
        ("rate=0.0", "rate is above 0"),
    ],
)
def test_what_is_no_training(change, says):
    path = str(ROOT / "training" / "configs" / "banana.py")
    with pytest.raises(ValueError, match=says):
        source_codes.build(configs.read(path, [change], SourceTraining))


@pytest.mark.parametrize("name", ["sawbridge", "banana_lloyd", "banana_ecvq", "sawbridge_klt"])
def test_what_is_kept_is_the_code(tmp_path, name):
    path = ROOT / "training" / "configs" / f"{name}.py"
    config = configs.read(str(path), [], SourceTraining)
    small = {"samples": 500, "steps": 3, "batch": 32}
    config = dataclasses.replace(config, **small)
    if config.source == "sawbridge":
        config = dataclasses.replace(config, of_source={"points": 64})
    code = source_codes.trained(config, tmp_path)
    again = source_codes.load(config, tmp_path / "weights.npz")
    samples = source_codes.samples_of(config, source_codes.MEASURING, 50)
    for a, b in zip(code.coded(samples), again.coded(samples)):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    source_codes.source_plots.draw(code, samples, tmp_path)
    assert (tmp_path / "cells.png").exists() == (config.source == "banana")
    assert (tmp_path / "traversal.png").exists() == (config.source == "sawbridge")


def test_measuring_is_not_on_what_was_trained_on():
    config = configs.read(str(ROOT / "training/configs/banana.py"), ["seed=1"], SourceTraining)
    start, measuring = (
        source_codes.samples_of(config, use, 40)
        for use in (source_codes.START, source_codes.MEASURING)
    )
    assert not np.intersect1d(start, measuring).size
    other = dataclasses.replace(config, seed=2)
    np.testing.assert_array_equal(
        source_codes.samples_of(other, source_codes.MEASURING, 40), measuring
    )
    assert not np.allclose(source_codes.samples_of(other, source_codes.START, 40), start)


def test_gates():
    assert Gate("a", 1.0, 0.9, 1.1).met and not Gate("a", 1.2, 0.9, 1.1).met
    assert not Gate("a", float("nan"), 0.0, 9.0).met
    text = source_table.gates([Gate("a", 1.2, 0.9, 1.1)])
    assert "| a | 1.200 | 0.90 to 1.10 | **no** |" in text


@pytest.mark.slow
def test_the_banana_shortened(tmp_path):
    """The order of the table holds from the first fifth of training on."""
    train = Trainings(tmp_path, share=0.2, samples=30_000)
    cost = {
        name: train(name, of)[0].figures.cost(source_table.LMBDA)
        for name, of in (("linear", "banana_linear"), ("soft", "banana"), ("l", "banana_lloyd"))
    }
    assert 6.80 < cost["linear"] < 7.4
    assert 5.9 < cost["soft"] < 6.3 and cost["soft"] < cost["linear"] - 0.6
    assert 5.85 < cost["l"] < 6.05 and cost["l"] < cost["soft"]


@pytest.mark.slow
def test_the_sawbridge_shortened(tmp_path):
    """Of 64 points; networks are near the optimum, and far below the linear transform."""
    config = configs.read(str(ROOT / "training/configs/sawbridge.py"), [], SourceTraining)
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
    ((_, found),) = source_codes.outcomes_of(config, tmp_path)
    gap = found.joint - sources.sawbridge_entropy(found.distortion)
    # Drops fall on 64 places, which is a little easier than anywhere.
    assert -0.08 < gap < 0.2
    assert found.coded < sources.sawbridge_water_filling(found.distortion)
