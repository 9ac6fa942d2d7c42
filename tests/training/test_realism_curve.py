"""Curves of realism decoders: table, figure, knee, and the program."""

from __future__ import annotations

import csv
import dataclasses
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.conftest import GOLDEN, completed, cropped, golden_model
from tfc_models.analysis import below_chord, knee
from tfc_models.training.config import RealismTraining
from training.experiments import curve_settings, realism_curve, realism_curve_table
from training.experiments.realism_curve_table import PERCEPTION, Panel, Point

BASE = GOLDEN / "gained-checkerboard.npz"


def panel(mse: list[float], perception: list[float], quality: int | None = 15) -> Panel:
    """Returns a panel of invented points on two images, of which the second is worse."""
    gammas = [math.inf, *(10.0**-i for i in range(len(mse) - 1))]
    points = [
        Point(g, {"mse": np.array([a, 3 * a]), "psnr": np.array([30.0, 20.0]), PERCEPTION: both})
        for g, a, both in zip(gammas, mse, np.multiply.outer(perception, [1.0, 2.0]))
    ]
    for point in points:
        point.values["pim-bands"] = point.values[PERCEPTION] * 10.0
    return Panel(quality, 0.25, 1234, points)


def read(path: pathlib.Path) -> list[dict[str, str]]:
    """Returns the rows of a CSV file."""
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


BENT = panel([80.0, 81.0, 88.0, 100.0], [0.2, 0.1, 0.08, 0.07])
STRAIGHT = panel([80.0, 90.0, 100.0], [0.3, 0.2, 0.1], quality=None)


def test_the_table_marks_and_describes_the_knee():
    text = realism_curve_table.panel_table(BENT, "lpips")
    assert "| **1, the knee** |" in text and "| ∞ | 25.00 dB | 160.00 | 0.3000 |" in text
    assert text.count("the knee**") == 1 and "| LPIPS, trained for | PIM-BANDS, not |" in text
    assert "Knee: γ = 1, 0.72 below the chord; next 0.1, 0.52." in text
    assert text.endswith("Knees of the 2 single images: 2 × 1.")
    assert BENT.knee() == knee(*BENT.axes()) == 1
    text = realism_curve_table.panel_table(STRAIGHT, "lpips")
    assert "the knee" not in text and "No knee: a curve that is nowhere below" in text
    two = realism_curve_table.panel_table(panel([80.0, 81.0], [0.1, 0.2]), "lpips")
    assert "No knee: a knee needs three points" in two


def test_distances_below_the_chord():
    below = below_chord([0.0, 9.0, 0.1, 0.5, 1.0], [1.0, 0.5, 0.2, 0.1, 0.0])
    np.testing.assert_allclose(below, [0.0, np.nan, 0.7, 0.4, 0.0], atol=1e-12)


def test_the_csv_and_the_figure(tmp_path):
    realism_curve_table.write([BENT, STRAIGHT], tmp_path / "c.csv")
    rows = read(tmp_path / "c.csv")
    assert [row["quality"] for row in rows] == ["15"] * 4 + [""] * 3
    assert [row["knee"] for row in rows] == list("0100000")
    assert float(rows[0]["gamma"]) == math.inf and rows[1]["perception"] == "0.15"
    realism_curve_table.plot([BENT, STRAIGHT], "lpips", tmp_path / "f.webp")
    with Image.open(tmp_path / "f.webp") as picture:
        assert picture.width > 800
    assert (tmp_path / "f.webp").stat().st_size < 25_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Training images, validation images, and a config for the small model."""
    folder = tmp_path_factory.mktemp("curve")
    photo = cropped(400, 512)
    for part, where in (("data", photo[:, :320]), ("other", photo[100:196, 330:460])):
        (folder / part).mkdir()
        Image.fromarray(where).save(folder / part / "a.png")
    Image.fromarray(photo[200:280, 330:430]).save(folder / "other" / "b.png")
    (folder / "config.py").write_text(
        "from tfc_models.training.config import RealismTraining\n"
        "CONFIG = RealismTraining(model='gained-checkerboard', steps=2, crop=64, batch=2,\n"
        "    arguments={'blocks': (1, 0)},\n"
        f"    rate=1e-2, perceptual='ssim', bfloat16='off', base={str(BASE)!r})\n"
    )
    return folder


def run(folder: pathlib.Path, *flags: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "training.experiments.realism_curve",
        f"--config={folder / 'config.py'}",
    ]
    command += [f"--workdir={folder / 'out'}", f"--data={folder / 'data'}", "--judges=nlpd"]
    return completed([*command, f"--validation={folder / 'other'}", *flags], code)


@pytest.mark.exhaustive
def test_the_program_at_one_quality(folder):
    flags = [f"--workdir={folder / 'short'}", "--steps=1", "--set=warmup=0.0", "--judges="]
    done = run(folder, *flags, "--gammas=1e-3,0,1e-2", "--qualities=20")
    rows = read(folder / "short" / "curve.csv")
    assert [float(row["gamma"]) for row in rows] == [math.inf, 0.01, 0.001, 0.0]
    assert len({row["bytes"] for row in rows}) == 1 and len({row["mse"] for row in rows}) == 4
    assert f"| quality 20: {float(rows[0]['bpp']):.3f} bpp; γ |" in done.stdout


@pytest.mark.exhaustive
def test_a_repeated_run_gives_the_same_results(folder):
    picture = folder / "f.webp"
    flags = ["--gammas=1e-3,0,1e-2", "--qualities=20,60", f"--figure={picture}"]
    done = run(folder, *flags)
    assert picture.stat().st_size < 25_000
    rows = read(folder / "out" / "curve.csv")
    assert [float(row["gamma"]) for row in rows] == [math.inf, 0.01, 0.001, 0.0] * 2
    for quality in ("20", "60"):
        points = [row for row in rows if row["quality"] == quality]
        assert len({(row["bytes"], row["bpp"]) for row in points}) == 1
        # All decoders differ, also from the base's.
        assert len({row["mse"] for row in points}) == 4
        try:
            best = knee(*([float(row[n]) for row in points] for n in ("mse", "perception")))
        except ValueError:
            best = None
        assert [row["knee"] for row in points] == [str(int(i == best)) for i in range(4)]
        assert f"| quality {quality}: {float(points[0]['bpp']):.3f} bpp; γ |" in done.stdout
    assert done.stdout.count("Knee: γ = ") + done.stdout.count("No knee: ") == 2

    before = [path.read_bytes() for path in sorted(folder.glob("out/*/weights.npz"))]
    again = run(folder, *flags)
    assert again.stderr.count("the budget is used up: step 2") == 3
    assert again.stdout == done.stdout
    assert [path.read_bytes() for path in sorted(folder.glob("out/*/weights.npz"))] == before


def test_a_folder_s_decoders_have_the_same_settings_except_gamma(tmp_path):
    config = RealismTraining(model="gained-checkerboard", steps=2, crop=48)
    realism_curve.store_settings(tmp_path / "out", config)
    realism_curve.store_settings(tmp_path / "out", dataclasses.replace(config, gamma=3.0))
    other = dataclasses.replace(config, steps=3, qualities=(5.0, 40.0))
    with pytest.raises(ValueError, match="holds a curve with another qualities, steps: choose"):
        realism_curve.store_settings(tmp_path / "out", other)


def test_changes_without_effect_are_refused():
    config = RealismTraining(model="gained-checkerboard", steps=2)
    assert realism_curve.common_config(config, ["rate=1e-3"]) == dataclasses.replace(
        config, realism=1.0
    )
    for changes, words in (
        (["rate=1e-3", "gamma=1"], "--set gamma=1 is not possible here: use --gammas"),
        (["minutes=1"], "all decoders take the same number of steps"),
    ):
        with pytest.raises(ValueError, match=words):
            realism_curve.common_config(config, changes)
    config_in_minutes = dataclasses.replace(config, steps=0, minutes=1.0)
    with pytest.raises(ValueError, match="give --steps, the number for each decoder"):
        realism_curve.common_config(config_in_minutes, [])


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["1", "0.1"], "a knee needs three --gammas or more; got 1,0.1"),
        (["1", "0", "-1"], "--gammas must be 0 or more"),
        (["1", "0", "nan"], "--gammas must be 0 or more"),
        (["1", "0", "1.0"], "--gammas must be different numbers; got 1,0,1.0"),
        (["1", "0", "much"], "--gammas must be numbers"),
    ],
)
def test_invalid_gammas_are_refused(texts, says):
    assert curve_settings.checked_gammas(["0", "1e-3", "1"]) == [1.0, 1e-3, 0.0]
    with pytest.raises(ValueError, match=says):
        curve_settings.checked_gammas(texts)


def test_other_invalid_flags_are_refused_before_training(folder, monkeypatch):
    base, single = golden_model("gained-checkerboard"), golden_model("mbt2018-mean")
    assert curve_settings.checked_qualities(None, base, [15, 40]) == [15, 40]
    assert curve_settings.checked_qualities(None, single, [15, 40]) == []
    with pytest.raises(ValueError, match="is a single-rate model: leave out --qualities"):
        curve_settings.checked_qualities(["15"], single, [15, 40])
    for texts in (["15", "101"], ["15", "15"], ["1.5"], [], ["-1"]):
        with pytest.raises(ValueError, match="--qualities must be different integers"):
            curve_settings.checked_qualities(texts, base, [15, 40])
    for names in (["lpips"], ["psnr"], ["pim-bands", "pim-bands"]):
        monkeypatch.setenv("TFC_MODELS_LPIPS", "")
        with pytest.raises(
            ValueError, match="--judges must be different metrics that are not trained for"
        ):
            curve_settings.checked_judges(names, {"lpips": 1.0})
    with pytest.raises(ValueError, match="there is no metric 'vmaf'; the metrics are: mse"):
        curve_settings.checked_judges(["vmaf"], {"lpips": 1.0})
    with pytest.raises(ValueError, match=r"LPIPS needs its weights.*docs/metrics\.md"):
        realism_curve.prepare({"lpips": 1.0})
    with pytest.raises(ValueError, match="give --validation"):
        curve_settings.checked_images(None, ["mse"])
    with pytest.raises(ValueError, match="no images in"):
        curve_settings.checked_images(str(folder / "none"), ["mse"])
    with pytest.raises(
        ValueError, match=r"a\.png has 130×96 pixels: the metrics need at least 176×176"
    ):
        curve_settings.checked_images(str(folder / "other"), ["mse", "ms-ssim"])
