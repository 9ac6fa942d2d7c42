"""Decoders for several γ at fixed rates: training, measurement, figures, and the program."""

from __future__ import annotations

import csv
import dataclasses
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import GOLDEN, completed, cropped, golden_model
from tfc_models.decoders import ReplacementDecoder, decoder_file
from tfc_models.models.distortion import parsed
from tfc_models.training.decoder_config import DecoderTraining
from tfc_models.training.fixed_model import base_of
from training.experiments import perception_at_fixed_rate as experiment
from training.experiments import perception_figures as figures
from training.experiments.perception_measurement import OWN, Measurement, central
from training.experiments.realism_curve_table import PERCEPTION, Panel, Point

NAME = "gained-checkerboard"
BASE = GOLDEN / f"{NAME}.npz"
IMAGES = {"a.png": cropped(96, 130), "b.png": cropped(300, 200)[200:]}


def panel(quality: int, bpp: float) -> Panel:
    """Returns a panel of invented points for three decoders."""
    points = [
        Point(g, {"mse": np.array([m]), "psnr": np.array([p]), PERCEPTION: np.array([d])})
        for g, m, p, d in ((OWN, 80.0, 29.1, 0.2), (1e-3, 82.0, 29.0, 0.12), (0.0, 99.0, 28.0, 0.1))
    ]
    return Panel(quality, bpp, 1234, points)


@pytest.fixture(scope="module")
def measurement() -> Measurement:
    return Measurement(str(BASE), IMAGES, [20, 60], {"ssim": 1.0}, ["nlpd"])


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> pathlib.Path:
    """The file of a decoder with the weights of the model's synthesis."""
    model, path = golden_model(NAME), tmp_path_factory.mktemp("untrained") / "weights.npz"
    decoder_file.save(ReplacementDecoder(model), model.digest().hex(), path)
    return path


def test_the_loss_of_a_gamma():
    assert parsed(experiment.distortion(5e-5, "lpips + 2*pim")) == {
        "mse": 5e-5,
        "lpips": 1.0,
        "pim": 2.0,
    }
    assert parsed(experiment.distortion(0.0, "lpips")) == {"lpips": 1.0}


def test_a_decoder_is_trained_once_for_the_given_qualities(tmp_path):
    Image.fromarray(cropped(128, 160)).save(tmp_path / "photo.png")
    config = DecoderTraining(
        NAME, steps=2, warmup=0.0, batch=2, crop=64, base=str(BASE), distortion="0.1*mse + ssim"
    )
    config = experiment.common_config(config, [], [20, 60])
    assert config.fixed_qualities == (20.0, 60.0)
    base, digest = base_of(config)
    strategy = tf.distribute.get_strategy()
    arguments = base, digest, config, tmp_path / "gamma-0.1", str(tmp_path), strategy
    path = experiment.train_decoder(*arguments)
    trained, file = decoder_file.read(path).state, path.read_bytes()
    assert any(np.any(value != trained[n]) for n, value in ReplacementDecoder(base).state().items())
    assert experiment.train_decoder(*arguments) == path and path.read_bytes() == file
    with pytest.raises(ValueError, match="holds a run with another distortion"):
        other = dataclasses.replace(config, distortion="ssim")
        experiment.train_decoder(base, digest, other, *arguments[3:])
    with pytest.raises(ValueError, match="use --gammas and --perceptual"):
        experiment.common_config(config, ["distortion=mse"], [])
    with pytest.raises(ValueError, match="--pim_side must be 0, or at least"):
        experiment.checked_side(20)


def test_decoders_are_measured_on_the_same_files(measurement, untrained, tmp_path, monkeypatch):
    panels = measurement.panels({0.0: untrained}, tmp_path)
    assert [p.quality for p in panels] == [20, 60] and panels[0].size < panels[1].size
    for result in panels:
        own, other = result.points
        assert (own.gamma, other.gamma) == (OWN, 0.0)
        for name in ("mse", "psnr", PERCEPTION, "nlpd"):
            np.testing.assert_allclose(own.values[name], other.values[name], rtol=0.02)
    assert measurement.bpp(20, 0) == pytest.approx(8 * len(measurement._files[20][0]) / 96 / 130)
    monkeypatch.setattr(measurement, "rows", None)  # Results of the same decoders are read.
    assert [p.points[0].mean("mse") for p in measurement.panels({0.0: untrained}, tmp_path)] == [
        p.points[0].mean("mse") for p in panels
    ]


def test_figures_are_drawn(measurement, untrained, tmp_path):
    panels = [panel(q, bpp) for q, bpp in ((0, 0.1), (10, 0.15), (20, 0.2))]
    figures.plot_curve(panels, "lpips", figures.path(tmp_path / "p", "curve"))
    figures.plot_rates(panels, "lpips", figures.path(tmp_path / "p", "rates"))
    page = figures.details(measurement, {OWN: None, 0.0: untrained}, 20, ["b.png"])
    figures.save_photos(page, figures.path(tmp_path / "p", "crops"))
    for name in ("curve", "rates", "crops"):
        path = tmp_path / f"p_{name}.webp"
        with Image.open(path) as figure:
            assert figure.width > 400
        assert path.stat().st_size < 150_000
    with pytest.raises(ValueError, match=r"--shown_gamma 0\.01 is not one of --gammas"):
        figures.checked_gamma(0.01, [1e-3, 0.0])
    with pytest.raises(ValueError, match=r"--shown c\.png is not in --validation"):
        figures.checked_names(["c.png"], IMAGES)


def test_slow_metrics_are_measured_on_the_central_square():
    images = tf.reshape(tf.range(5.0 * 8.0), [1, 5, 8, 1])
    total = central(lambda a, b: tf.reduce_sum(a + b, [1, 2, 3]), 2)
    assert float(total(images, images)[0]) == 2.0 * (11 + 12 + 19 + 20)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [NAME, "mbt2018-mean"])
def test_the_program_resumes_and_repeats_its_results(tmp_path, name):
    for part, where in (
        ("data", cropped(400, 512)[:, :320]),
        ("other", cropped(300, 500)[:, 320:]),
    ):
        (tmp_path / part).mkdir()
        Image.fromarray(where).save(tmp_path / part / "a.png")

    def run(*flags: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [
            *(sys.executable, "-m", "training.experiments.perception_at_fixed_rate"),
            *("--config=decoder", f"--set=model={name}", f"--set=base={GOLDEN / name}.npz"),
            *(f"--data={tmp_path / 'data'}", f"--validation={tmp_path / 'other'}"),
            *(f"--workdir={tmp_path / 'out'}", "--steps=2", "--set=batch=2", "--set=crop=64"),
            *("--perceptual=ssim", "--judges=nlpd", "--gammas=1e-3,0,1e-2", "--shown=a.png"),
            *(f"--figures={tmp_path / 'p'}", "--shown_gamma=1e-3", "--set=warmup=0.0"),
        ]
        return completed([*command, *flags], code)

    done = run()
    rows = list(csv.DictReader((tmp_path / "out" / "curve.csv").open(encoding="utf-8")))
    qualities = ["0", "10", "20", "35"] if name == NAME else [""]
    assert [row["quality"] for row in rows] == [q for q in qualities for _ in range(4)]
    assert [float(row["gamma"]) for row in rows[:4]] == [math.inf, 0.01, 0.001, 0.0]
    assert len({row["bytes"] for row in rows[:4]}) == 1 and len({r["mse"] for r in rows[:4]}) > 1
    assert {p.name for p in tmp_path.glob("p_*.webp")} == {
        *("p_curve.webp", "p_crops.webp"),
        *(["p_rates.webp"] if name == NAME else []),
    }
    assert run().stdout == done.stdout
    assert "holds a curve with another steps" in run("--steps=3", code=1).stderr
