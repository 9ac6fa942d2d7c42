"""Decoders trained with a critic approach the theoretical trade-off of their sources."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import completed
from tfc_models.analysis.tradeoff import Reached
from training.experiments import tradeoff_decoders, tradeoff_table
from training.experiments.tradeoff_decoders import TASKS, Decoders, beta_of, gamma_of
from training.experiments.tradeoff_table import Comparison

GAMMAS = [10.0, 1.0, 0.3]


@pytest.mark.parametrize("name", TASKS)
def test_codes_match_the_theory(name):
    """The error of E[X|Y] is `rest`, and X has the source's distribution."""
    tf.random.set_seed(0)
    task = TASKS[name]()
    y, mean = task.coded([1, 200_000])
    real = task.real([1, 200_000]).numpy()
    assert mean.shape == y.shape == real.shape
    # E var(X|Y) = E X² − E E[X|Y]².
    rest = np.mean(real**2) - np.mean(mean.numpy() ** 2)
    assert rest == pytest.approx(task.theory.rest, abs=0.01)
    assert np.mean(real) == pytest.approx(np.mean(mean), abs=0.01)
    if task.values:
        assert set(np.unique(real)) == set(task.values)


def test_beta_and_gamma_are_inverse_mappings():
    for gamma in GAMMAS:
        assert float(gamma_of(beta_of(gamma, GAMMAS), GAMMAS)) == pytest.approx(gamma, rel=1e-5)
    assert beta_of(10.0, GAMMAS) == 0.0 and beta_of(0.3, GAMMAS) == pytest.approx(1.0)


def test_parallel_networks_are_independent():
    networks = tradeoff_decoders.Networks(3, 2, seed=0)
    x = tf.random.normal([3, 5])
    outputs = networks(x, x)
    other = networks(tf.tensor_scatter_nd_update(x, [[1]], [x[0]]), x).numpy()
    np.testing.assert_array_equal(outputs.numpy()[[0, 2]], other[[0, 2]])
    assert not np.allclose(outputs[1], other[1]) and not np.allclose(outputs[0], outputs[2])


@pytest.mark.parametrize(("name", "conditioned"), [("channel", False), ("binary", True)])
def test_a_short_training_approaches_the_optimum(name, conditioned):
    decoders = Decoders(TASKS[name](), "jensen-shannon", GAMMAS, conditioned)
    decoders.train(600, 128)
    theory = decoders.task.theory
    reached = []
    for i, gamma in enumerate(GAMMAS):
        which = beta_of(gamma, GAMMAS) if conditioned else i
        reached.append(decoders.measure(which, 2**16))
        best = theory.best(gamma, "jensen-shannon")
        assert reached[-1].perception == pytest.approx(best.perception, abs=0.4 * theory.gap)
        above = reached[-1].distortion - theory.bound(reached[-1].perception)
        assert -0.005 < above < 0.02
    assert reached[0].distortion < reached[2].distortion
    assert reached[0].perception > reached[2].perception + 0.2 * theory.gap
    assert reached == [
        decoders.measure(beta_of(gamma, GAMMAS) if conditioned else i, 2**16)
        for i, gamma in enumerate(GAMMAS)
    ]


@pytest.mark.parametrize(
    ("gammas", "divergence", "says"),
    [
        ([1.0], "gan", "two or more different numbers"),
        ([1.0, 2.0, 1.0], "gan", "two or more different numbers"),
        ([1.0, -1.0], "gan", "above 0"),
        ([1.0, float("nan")], "gan", "above 0"),
        ([1.0, 2.0], "wasserstein", "one of kl, reverse-kl"),
    ],
)
def test_invalid_settings_are_refused(gammas, divergence, says):
    with pytest.raises(ValueError, match=says):
        Decoders(TASKS["sign"](), divergence, gammas, conditioned=False)


def comparison(shift: float = 0.0) -> Comparison:
    """Returns a comparison of optimal decoders with a shift of their distortion."""
    task, gammas = TASKS["sign"](), [100.0, 3.0, 0.3, 0.01]
    best = [task.theory.best(gamma, "gan") for gamma in gammas]
    shifted = [Reached(p.distortion + shift, p.perception) for p in best]
    return Comparison(task, "gan", gammas, best, shifted, shifted, shifted)


def test_tables_and_gates(tmp_path):
    gates = tradeoff_table.comparison_gates(comparison())
    assert len(gates) == 6 and all(gate.met for gate in gates), gates
    text = tradeoff_table.comparison_table(comparison())
    assert "| 100 | 0.00 |" in text and "| 0.01 | 1.00 |" in text
    assert "Knee over these γ: 3 of the optimum" in text
    # Below the bound, and too far above it.
    for shift in (-0.02, 0.05):
        assert not all(gate.met for gate in tradeoff_table.comparison_gates(comparison(shift)))
    tradeoff_table.plot([comparison(), comparison(0.05)], tmp_path / "f.webp")
    with Image.open(tmp_path / "f.webp") as image:
        assert image.width > 800


def run(*flags: str, code: int) -> subprocess.CompletedProcess[str]:
    return completed([sys.executable, "-m", "training.experiments.tradeoff", *flags], code)


@pytest.mark.slow
def test_a_far_too_short_run_fails_its_gates(tmp_path):
    image = tmp_path / "f.webp"
    flags = ["--only=binary", "--steps=1", "--batch=8", "--gammas=1,0.1", "--samples=4096"]
    done = run(*flags, f"--output={image}", code=1)
    assert "| binary: γ |" in done.stdout and "**no**" in done.stdout
    assert "not met: binary: " in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert image.stat().st_size < 40_000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"only": ["cherry"]}, "no source cherry; the sources are channel, sign, binary"),
        ({"only": []}, "--only is empty"),
        ({"divergence": "wasserstein"}, "a divergence is one of kl"),
        ({"gammas": ["1"]}, "two or more different numbers above 0; got 1"),
        ({"gammas": ["1", "much"]}, "different numbers above 0; got 1,much"),
        ({"output": pathlib.Path("/nowhere/f.webp")}, "in an existing folder"),
        ({"output": pathlib.Path("f.png")}, "must be a .webp file"),
    ],
)
def test_invalid_flags_are_refused_before_training(changes, says):
    flags = {"only": ["sign"], "divergence": "gan", "gammas": ["1", "0.3"], "output": None}
    assert tradeoff_table.check_settings(**flags) == [1.0, 0.3]
    with pytest.raises(ValueError, match=says):
        tradeoff_table.check_settings(**{**flags, **changes})
