"""Demo: photos, files, a second process, the table and the comparison image."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from tests.conftest import GOLDEN
from tfc_models import demo, images, samples


def test_the_photos_are_in_the_wheel():
    files = demo.photo_files()
    assert [path.name for path in files] == list(samples.PHOTOS)
    for path in files:
        pixels = images.read(path).pixels
        assert pixels.shape[2] == 3 and min(pixels.shape[:2]) >= 176


def test_the_demo_without_scikit_image_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert demo.main(["--output", "nowhere"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "demo: the demo needs scikit-image's images: pip install scikit-image.\n"
    )


def test_the_demo_without_a_model_is_refused(tmp_path, capsys):
    assert demo.main(["--output", str(tmp_path), "-m", "nosuch"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("demo: there is no model 'nosuch'") and error.count("\n") == 1


@pytest.mark.slow
def test_the_demo_writes_its_files_and_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(samples, "PHOTOS", ("chelsea.png",))
    model = GOLDEN / "mbt2018-mean.npz"
    assert demo.main(["--output", str(tmp_path / "out"), "-m", str(model)]) == 0
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "chelsea.tfcm",
        "chelsea.png",
        "comparison.png",
        "results.json",
    }
    results = json.loads((out / "results.json").read_text())
    assert [result["codec"] for result in results] == ["tfc-models", "JPEG", "WebP", "AVIF"]
    actual = results[0]
    assert actual["bytes"] == (out / "chelsea.tfcm").stat().st_size
    assert actual["bpp"] == 8 * actual["bytes"] / (451 * 300)
    assert all(result["psnr"] > 15 and 0.5 < result["ms_ssim"] <= 1 for result in results)
    decoded = images.read(out / "chelsea.png").pixels.astype(float)
    photo = images.read(demo.photo_files()[0]).pixels
    assert decoded.shape == photo.shape
    psnr = 10 * np.log10(255**2 / np.mean((decoded - photo) ** 2))
    assert actual["psnr"] == pytest.approx(psnr, abs=1e-3)
    assert images.read(out / "comparison.png").pixels.shape[1] > 1000
    shown = capsys.readouterr().out
    assert "chelsea 451×300" in shown and "JPEG quality" in shown and "encode s" in shown
