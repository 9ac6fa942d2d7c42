"""`tfc-models metrics`: two images, or two folders of them."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_cli import one_error, put, run
from tests.conftest import cropped
from tfc_models import metrics
from tfc_models.perceptual import load_pim_bands


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path) -> None:
    for variable in (
        metrics.LPIPS_VARIABLE,
        metrics.SEMANTIC_VARIABLE,
        metrics.PIM_VARIABLE,
        metrics.PIM_BANDS_VARIABLE,
    ):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, size in (("photo", (180, 240)), ("small", (60, 70))):
        image = cropped(*size)
        noisy = np.clip(image + rng.normal(0, 9, image.shape), 0, 255).astype(np.uint8)
        put(f"a/in/{name}.png", image)
        put(f"b/in/{name}.bmp", noisy)


@pytest.mark.usefixtures("eager")
def test_two_images_by_every_metric(capsys):
    assert run("metrics", "a/in/photo.png", "b/in/photo.bmp") == 0
    captured = capsys.readouterr()
    for left_out in ("LPIPS", "Semantic metric"):
        assert f"{left_out} needs its weights" in captured.err
    titles = ("PSNR dB", "SSIM", "MS-SSIM", "NLPD", "photo.bmp")
    assert all(title in captured.out for title in titles)
    assert "LPIPS" not in captured.out and "mean of" not in captured.out


def test_folders_pair_by_name_and_small_images_lack_some_metrics(capsys):
    assert run("metrics", "a", "b", "--json", "--quiet") == 0
    result = json.loads(capsys.readouterr().out)
    photo, small = sorted(result["pairs"], key=lambda row: row["pair"])
    assert (photo["pair"], small["pair"]) == ("in/photo", "in/small")
    assert small["ms-ssim"] is None and small["nlpd"] is None and small["ssim"] > 0
    assert result["mean"]["ms-ssim"] == photo["ms-ssim"]
    assert result["mean"]["psnr"] == pytest.approx((photo["psnr"] + small["psnr"]) / 2)
    assert photo["psnr"] == pytest.approx(10 * np.log10(255**2 / photo["mse"]))
    assert run("metrics", "a", "b") == 0
    assert "mean of 2" in capsys.readouterr().out


def test_json_of_equal_images_has_no_infinity(capsys):
    path = "a/in/photo.png"
    assert run("metrics", path, path, "--metric", "psnr,SSIM", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["mean"] == {"psnr": None, "ssim": pytest.approx(1.0)}
    assert run("metrics", path, path, "--metric", "psnr") == 0
    assert "∞" in capsys.readouterr().out


def test_unpaired_images_are_reported(capsys):
    put("a/in/alone.png", cropped(20, 20))
    put("b/other.png", cropped(20, 20))
    assert run("metrics", "a", "b", "--metric", "mse", "--json") == 1
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["pairs"]) == 2
    assert "alone.png: b has no in/alone" in captured.err
    assert "other.png: a has no other" in captured.err


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["a/in/photo.png", "b/in/small.bmp"], "differ in size: 240×180 and 70×60", 1),
        (["a", "b/in/small.bmp"], "two images, or two folders", 2),
        (["a/in/photo.png", "none.png"], "No such file", 1),
        (["a", "b", "--metric", "psnr,foo"], "there is no metric 'foo'", 2),
        (["a", "b", "--metric", ","], "--metric names no metric", 2),
        (["a", "b", "--metric", "lpips"], "LPIPS needs its weights", 2),
        (["a", "b", "--weights", "lpips=a/in/photo.png"], "not a file of weights", 1),
        (["a", "b", "--weights", "lpips=none.npz"], "there is no file of weights none.npz", 1),
    ],
)
def test_errors_print_one_line(arguments, words, code, capsys):
    assert run("metrics", *arguments, "--quiet") == code
    assert words in one_error(capsys)


def test_broken_images_and_duplicate_names(capsys):
    pathlib.Path("b/in/photo.bmp").write_bytes(os.urandom(100))
    assert run("metrics", "a", "b", "--metric", "mse", "--json", "--quiet") == 1
    captured = capsys.readouterr()
    assert "photo.bmp" in captured.err and captured.err.count("\n") == 1
    assert [row["pair"] for row in json.loads(captured.out)["pairs"]] == ["in/small"]
    put("a/in/small.bmp", cropped(60, 70))
    assert run("metrics", "a", "b", "--quiet") == 1
    assert "files are paired by name without suffix" in one_error(capsys)


@pytest.mark.usefixtures("eager")
def test_set_distances_use_patches_of_both_sides(capsys):
    arguments = ("metrics", "a", "b", "--metric", "mse", "--sets")
    assert run(*arguments, "--json", "--quiet") == 0
    result = json.loads(capsys.readouterr().out)["sets"]
    # An image of 180×240 has six patches, one of 60×70 has none.
    assert (result["extractor"], result["patch"], result["patches"]) == ("pim-bands", 64, 6)
    model = load_pim_bands()
    sides = []
    for folder_of in ("a/in/photo.png", "b/in/photo.bmp"):
        image = np.asarray(Image.open(folder_of))
        squares = [image[y : y + 64, x : x + 64] for y in (0, 64) for x in (0, 64, 128)]
        sides.append(np.concatenate([model.summary(square[None]).numpy() for square in squares]))
    assert result["frechet"] == pytest.approx(metrics.frechet_distance(*sides), rel=1e-3)
    assert result["kernel"] == pytest.approx(metrics.kernel_distance(*sides), rel=1e-3)
    assert run("metrics", "a", "a", "--metric", "mse", "--sets", "--quiet") == 0
    text = capsys.readouterr().out
    assert "PIM-bands features of 6 patches of 64×64: Fréchet distance 0.0000" in text


def test_set_distances_need_two_patches(capsys):
    small = "a/in/small.png"
    assert run("metrics", small, small, "--metric", "mse", "--sets") == 1
    assert "--sets needs at least two patches of 64×64" in one_error(capsys)
    assert (
        run("metrics", small, small, "--metric", "mse", "--sets", "--weights", f"pim-bands={small}")
        == 1
    )
    assert "not a file of weights" in one_error(capsys)
