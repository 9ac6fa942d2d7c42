"""Programs that compare shrinkage and GDN: divergence, curves, times, crops and histograms."""

from __future__ import annotations

import csv
import pathlib
import sys

import pytest
from PIL import Image

from tests.conftest import completed, cropped, golden_model
from tfc_models.zoo import files

NAMES = ("kirmemis2020", "kirmemis2020-gdn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shrinkage")
    (folder / "images").mkdir()
    Image.fromarray(cropped(176, 192)).save(folder / "images" / "a.png")
    for name in NAMES:
        files.save(golden_model(name), folder / f"{name}.npz")
    return folder


def run(folder: pathlib.Path, program: str, *options: str, code: int = 0) -> str:
    weights = [f"--{k}={folder}/{n}.npz" for k, n in zip(("shrinkage", "gdn"), NAMES)]
    places = [f"--images={folder}/images", f"--output={folder}"]
    module = f"training.experiments.shrinkage_{program}"
    return completed([sys.executable, "-m", module, *weights, *places, *options], code).stderr


def rows_of(path: pathlib.Path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def width_of(path: pathlib.Path) -> int:
    with Image.open(path) as image:
        return image.width


def test_the_divergence_is_measured_on_images_and_noise(folder):
    run(folder, "divergence", "--side=64")
    rows = rows_of(folder / "shrinkage_divergence.csv")
    assert [(row["activation"], row["input"]) for row in rows] == [
        (name, source)
        for name in ("shrinkage", "GDN")
        for source in ("images", "Laplace", "normal", "uniform")
    ]
    assert all(float(row["divergence"]) > 0.0 and float(row["bpp"]) > 0.0 for row in rows)


def test_curves_have_a_point_for_each_step(folder):
    run(folder, "curves")
    rows = rows_of(folder / "shrinkage_curves.csv")
    assert [row["step"] for row in rows] == ["2.0", "1.5", "1.0", "0.6667", "0.5"] * 2
    for name in ("psnr", "ms_ssim"):
        assert width_of(folder / f"shrinkage_{name}.webp") > 500


@pytest.mark.exhaustive
def test_times_are_listed_by_size(folder):
    run(folder, "times", "--rounds=1")
    rows = rows_of(folder / "shrinkage_times.csv")
    assert {row["size"] for row in rows} == {"192×176"}
    assert {row["activation"] for row in rows} == {"shrinkage", "GDN"}
    assert all(float(row["encode"]) > 0.0 and float(row["decode"]) > 0.0 for row in rows)


@pytest.mark.exhaustive
def test_crops_and_histograms_are_drawn(folder):
    run(folder, "crops", "--count=1")
    assert width_of(folder / "shrinkage_crops.webp") > 300
    run(folder, "histograms")
    for name in ("analysis", "synthesis"):
        assert width_of(folder / f"shrinkage_{name}.webp") > 1000


def test_weights_of_the_wrong_model_are_refused(folder):
    wrong = f"--gdn={folder}/{NAMES[0]}.npz"
    assert "not of kirmemis2020-gdn" in run(folder, "curves", wrong, code=1)
