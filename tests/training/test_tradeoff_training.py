"""Decoders that a critic trains come to what is known of their sources; the program, too."""

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
def test_codes_are_those_that_theory_is_of(name):
    """Errors of the mean given the code are what `rest` says, and of its own law X is real."""
    tf.random.set_seed(0)
    task = TASKS[name]()
    y, mean = task.coded([1, 200_000])
    real = task.real([1, 200_000]).numpy()
    assert mean.shape == y.shape == real.shape
    # E var(X|Y) = E X² − E E[X|Y]².
    rest = np.mean(real**2) - np.mean(mean.numpy() ** 2)
    assert rest == pytest.approx(task.known.rest, abs=0.01)
    assert np.mean(real) == pytest.approx(np.mean(mean), abs=0.01)
    if task.values:
        assert set(np.unique(real)) == set(task.values)


def test_betas_are_gammas_on_a_scale_of_their_own():
    for gamma in GAMMAS:
        assert float(gamma_of(beta_of(gamma, GAMMAS), GAMMAS)) == pytest.approx(gamma, rel=1e-5)
    assert beta_of(10.0, GAMMAS) == 0.0 and beta_of(0.3, GAMMAS) == pytest.approx(1.0)


def test_networks_side_by_side_know_nothing_of_one_another():
    networks = tradeoff_decoders.Networks(3, 2, seed=0)
    x = tf.random.normal([3, 5])
    made = networks(x, x)
    other = networks(tf.tensor_scatter_nd_update(x, [[1]], [x[0]]), x).numpy()
    np.testing.assert_array_equal(made.numpy()[[0, 2]], other[[0, 2]])
    assert not np.allclose(made[1], other[1]) and not np.allclose(made[0], made[2])


@pytest.mark.parametrize(("name", "conditioned"), [("channel", False), ("binary", True)])
def test_a_short_training_comes_near_what_is_best(name, conditioned):
    decoders = Decoders(TASKS[name](), "jensen-shannon", GAMMAS, conditioned)
    decoders.train(600, 128)
    known = decoders.task.known
    reached = []
    for i, gamma in enumerate(GAMMAS):
        which = beta_of(gamma, GAMMAS) if conditioned else i
        reached.append(decoders.reached(which, 2**16))
        best = known.best(gamma, "jensen-shannon")
        assert reached[-1].perception == pytest.approx(best.perception, abs=0.4 * known.gap)
        above = reached[-1].distortion - known.bound(reached[-1].perception)
        assert -0.005 < above < 0.02
    assert reached[0].distortion < reached[2].distortion
    assert reached[0].perception > reached[2].perception + 0.2 * known.gap
    assert reached == [
        decoders.reached(beta_of(gamma, GAMMAS) if conditioned else i, 2**16)
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
def test_what_is_no_training(gammas, divergence, says):
    with pytest.raises(ValueError, match=says):
        Decoders(TASKS["sign"](), divergence, gammas, conditioned=False)


def made(shift: float = 0.0) -> Comparison:
    """Of decoders that are best, but for a shift of their distortion."""
    task, gammas = TASKS["sign"](), [100.0, 3.0, 0.3, 0.01]
    best = [task.known.best(gamma, "gan") for gamma in gammas]
    shifted = [Reached(p.distortion + shift, p.perception) for p in best]
    return Comparison(task, "gan", gammas, best, shifted, shifted, shifted)


def test_tables_and_gates(tmp_path):
    asked = tradeoff_table.gates_of(made())
    assert len(asked) == 6 and all(gate.met for gate in asked), asked
    text = tradeoff_table.table_of(made())
    assert "| 100 | 0.00 |" in text and "| 0.01 | 1.00 |" in text
    assert "Knee over these γ: 3 of the best" in text
    # Lower than can be, and higher than it should: each misses gates.
    for shift in (-0.02, 0.05):
        assert not all(gate.met for gate in tradeoff_table.gates_of(made(shift)))
    tradeoff_table.draw([made(), made(0.05)], tmp_path / "f.webp")
    with Image.open(tmp_path / "f.webp") as picture:
        assert picture.width > 800


def run(*flags: str, code: int) -> subprocess.CompletedProcess[str]:
    return completed([sys.executable, "-m", "training.experiments.tradeoff", *flags], code)


@pytest.mark.slow
def test_a_run_that_is_far_too_short_says_so(tmp_path):
    picture = tmp_path / "f.webp"
    flags = ["--only=binary", "--steps=1", "--batch=8", "--gammas=1,0.1", "--samples=4096"]
    done = run(*flags, f"--output={picture}", code=1)
    assert "| binary: γ |" in done.stdout and "**no**" in done.stdout
    assert "not met: binary: " in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert picture.stat().st_size < 40_000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"only": ["cherry"]}, "no source cherry; there are channel, sign, binary"),
        ({"only": []}, "no source to do"),
        ({"divergence": "wasserstein"}, "a divergence is one of kl"),
        ({"gammas": ["1"]}, "two or more different numbers above 0; got 1"),
        ({"gammas": ["1", "much"]}, "different numbers above 0; got 1,much"),
        ({"output": pathlib.Path("/nowhere/f.webp")}, "in a folder that there is"),
        ({"output": pathlib.Path("f.png")}, "a figure is a .webp"),
    ],
)
def test_flags_are_looked_at_before_anything_is_trained(changes, says):
    flags = {"only": ["sign"], "divergence": "gan", "gammas": ["1", "0.3"], "output": None}
    assert tradeoff_table.checked(**flags) == [1.0, 0.3]
    with pytest.raises(ValueError, match=says):
        tradeoff_table.checked(**{**flags, **changes})
