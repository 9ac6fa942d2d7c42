"""`tfc-models allocate`: files, summaries, limits and messages."""

from __future__ import annotations

import json
import os
import pathlib
import select
import subprocess
import sys

import numpy as np
import pytest

from tests.cli.test_cli import one_error, put, run, tree
from tests.conftest import ROOT, cropped
from tests.quick_codec import GradedCodec, quick_zoo
from tfc_models import evaluation
from tfc_models.cli import codec_selection
from tfc_models.evaluation.quality_metrics import table_metric

JPEG = ("--codecs", "jpeg", "--qualities", "10,40,70,95")


@pytest.fixture(autouse=True)
def coded(monkeypatch, tmp_path) -> list[int | None]:
    """Creates a folder of three images and a fast model. Returns the qualities it encodes."""
    done: list[int | None] = []

    class Graded(GradedCodec):
        def compress(self, image: np.ndarray, quality: int | None = None) -> bytes:
            done.append(quality)
            return super().compress(image, quality)

    quick_zoo(monkeypatch, lambda name, realism=None, fast=None: Graded())
    monkeypatch.setattr(codec_selection, "check_model", lambda name: None)
    monkeypatch.chdir(tmp_path)
    put("in/a.png", cropped(60, 80))
    put("in/b/c.png", cropped(400, 90)[340:])
    put("in/b/grey.png", cropped(50, 60)[..., 0])
    return done


def allocate(*arguments: object) -> int:
    return run("allocate", "in", "-o", "out", *arguments)


def number_at_end(line: str) -> str:
    """Returns the number that a message ends with."""
    return line.rpartition("is ")[2].partition(" ")[0].strip().removesuffix(".").replace(",", "")


def result(capsys, *arguments: object) -> dict:
    assert allocate("--json", "--force", *arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_qualities_that_fail_are_named_and_left_out(monkeypatch, capsys):
    encode = evaluation.Peer.encode

    def failing(self, image, setting):
        if setting == 95:
            raise RuntimeError("the encoder gave up")
        return encode(self, image, setting)

    monkeypatch.setattr(evaluation.Peer, "encode", failing)
    assert allocate("--total", "1MB", *JPEG) == 0
    captured = capsys.readouterr()
    assert "3 qualities failed and were left out, such as in/a.png: JPEG" in captured.err
    assert "the encoder gave up" in captured.err and "quality 70" in captured.out


def test_total_is_met_and_used(capsys):
    document = result(capsys, "--total", "5kB", *JPEG)
    sizes = [pathlib.Path(f"out/{name}.jpg").stat().st_size for name in ("a", "b/c", "b/grey")]
    assert [file["bytes"] for file in document["files"]] == sizes
    assert document["totals"]["bytes"] == sum(sizes) <= 5000
    single = document["best_single"]
    assert single["bytes"] <= 5000 and single["mse"] >= document["totals"]["mse"]
    assert tree() == {
        *("in/a.png", "in/b/c.png", "in/b/grey.png"),
        *("out/a.jpg", "out/b/c.jpg", "out/b/grey.jpg", "out/measurements.jsonl"),
    }


def test_files_equal_those_of_compress(capsys):
    document = result(capsys, "--total", "9k", "--points", 11)
    for file in document["files"]:
        quality = file["setting"].removeprefix("quality ")
        assert run("compress", file["input"], "-q", quality, "-o", "same.tfcm", "--force") == 0
        target = pathlib.Path("out", pathlib.Path(file["input"]).relative_to("in"))
        assert target.with_suffix(".tfcm").read_bytes() == pathlib.Path("same.tfcm").read_bytes()


def test_images_choose_among_several_codecs(capsys):
    mixed = ("--codecs", "default,jpeg,webp", "--points", 4)
    document = result(capsys, "--total", "7k", *mixed)
    alone = [
        result(capsys, "--total", "7k", "--codecs", name, "--points", 4)["totals"]["mse"]
        for name in ("jpeg", "webp")
    ]
    assert document["totals"]["mse"] <= min(alone)
    suffixes = {"graded": ".tfcm", "JPEG": ".jpg", "WebP": ".webp"}
    for file in document["files"]:
        name = pathlib.Path(file["input"]).relative_to("in")
        path = pathlib.Path("out", name).with_suffix(suffixes[file["codec"]])
        assert path.stat().st_size == file["bytes"]


def test_bytes_are_minimized_for_a_mean(capsys):
    document = result(capsys, "--optimize", "bytes", "--mean", "psnr=30", *JPEG)
    assert document["totals"]["psnr"] >= 30
    assert document["totals"]["bytes"] <= document["best_single"]["bytes"]


def test_two_limits(capsys):
    document = result(capsys, "--total", "6k", "--mean", "psnr=31", *JPEG)
    assert document["totals"]["psnr"] >= 31 and document["totals"]["bytes"] <= 6000


@pytest.mark.slow
def test_limit_of_a_perceptual_metric(capsys):
    document = result(capsys, "--total", "6k", "--mean", "ssim=0.7", *JPEG)
    assert document["totals"]["ssim"] >= 0.7 and document["totals"]["bytes"] <= 6000


def test_limits_of_every_image(capsys):
    document = result(capsys, "--optimize", "bytes", "--each", "mse=60", *JPEG)
    assert all(file["mse"] <= 60 for file in document["files"])


def test_summary(capsys):
    assert allocate("--total", "5k", *JPEG) == 0
    captured = capsys.readouterr()
    assert "JPEG" in captured.out and "Gain over the best single quality" in captured.out
    assert "dB mean PSNR" in captured.out and "Proven gap" in captured.out
    assert captured.err == ""


def test_measurements_are_reused(coded, capsys):
    assert allocate("--total", "9k", "--points", 5, "--dry-run") == 0
    assert not pathlib.Path("out/a.tfcm").exists()
    count = len(coded)
    assert count == 3 * 5
    assert allocate("--total", "8k", "--points", 5, "--dry-run") == 0
    assert "15 measurements reused." in capsys.readouterr().err
    assert len(coded) == count


def test_outdated_measurements_are_reported(monkeypatch, capsys):
    allocate("--total", "5k", "--dry-run", *JPEG)
    monkeypatch.setattr(evaluation.Peer, "version", property(lambda peer: "libjpeg 99"))
    assert allocate("--total", "5k", "--dry-run", *JPEG) == 0
    text = "12 measurements of other versions of a codec or metric were made again."
    assert text in capsys.readouterr().err


@pytest.mark.slow
def test_several_processes_give_the_same_files(capsys):
    one = result(capsys, "--total", "5k", *JPEG)
    pathlib.Path("out/measurements.jsonl").unlink()
    assert result(capsys, "--total", "5k", *JPEG, "--processes", 2) == one


def test_existing_files_are_refused_before_any_work(coded, capsys):
    pathlib.Path("out/b").mkdir(parents=True)
    pathlib.Path("out/b/c.tfcm").write_text("mine")
    assert allocate("--total", "9k") == 1
    assert "out/b/c.tfcm exists; --force overwrites it." in one_error(capsys)
    assert coded == [] and not pathlib.Path("out/a.tfcm").exists()


def test_files_of_another_size_than_measured_are_not_written(capsys):
    allocate("--total", "5k", "--dry-run", *JPEG)
    kept = pathlib.Path("out/measurements.jsonl")
    first, *others = kept.read_text().splitlines(keepends=True)
    changed = json.loads(first)
    changed.update(bytes=10, mse=0)
    kept.write_text(json.dumps(changed) + "\n" + "".join(others))
    capsys.readouterr()
    assert allocate("--total", "5k", *JPEG) == 1
    assert "but 10 were measured: delete out/measurements.jsonl" in capsys.readouterr().err
    assert not pathlib.Path("out/a.jpg").exists()


def test_unreadable_images_are_skipped(capsys):
    pathlib.Path("in/broken.png").write_bytes(b"no image")
    assert allocate("--total", "5k", *JPEG) == 1
    captured = capsys.readouterr()
    assert "in/broken.png: not an image" in captured.err and captured.err.count("\n") == 1
    assert pathlib.Path("out/a.jpg").is_file()


def test_images_without_a_suitable_quality_are_skipped(capsys):
    put("in/noise.png", np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))
    assert allocate("--total", "9k", "--each", "mse=200", *JPEG) == 1
    message = "in/noise.png: no quality satisfies --each mse=200. It is skipped."
    assert message in capsys.readouterr().err


def test_small_images_are_skipped_if_a_metric_needs_large_ones(monkeypatch, capsys):
    def of_pair(original: np.ndarray, coded: np.ndarray) -> float | None:
        return 0.5 if original.shape[0] >= 60 else None

    metric = evaluation.QualityMetric(table_metric("nlpd"), "nlpd", of_pair)
    monkeypatch.setattr(evaluation, "quality_metric", lambda name, weights: metric)
    assert allocate("--total", "9M", "--mean", "nlpd=0.5", *JPEG) == 1
    assert "in/b/grey.png: it is too small for nlpd. It is skipped." in capsys.readouterr().err
    assert pathlib.Path("out/a.jpg").is_file()


def test_infeasible_limits_name_the_nearest_feasible_ones(capsys):
    assert allocate("--total", "1k", *JPEG) == 1
    line = one_error(capsys)
    assert "--total 1,000 bytes cannot be met: the smallest total is" in line
    smallest = number_at_end(line)
    assert allocate("--total", smallest, *JPEG) == 0
    capsys.readouterr()
    assert allocate("--mean", "mse=1", "--optimize", "bytes", *JPEG, "--force", "--quiet") == 1
    line = one_error(capsys)
    assert "--mean mse=1 cannot be met: the lowest mean is" in line
    lowest = number_at_end(line)
    assert allocate("--mean", f"mse={lowest}", "--optimize", "bytes", *JPEG, "--force") == 0


def test_limits_that_contradict_each_other_name_the_nearest_total(capsys):
    assert allocate("--total", "3k", "--mean", "psnr=40", *JPEG) == 1
    line = one_error(capsys)
    assert "--total 3,000 bytes cannot be met with --mean psnr=40: the smallest total" in line
    smallest = number_at_end(line)
    assert allocate("--total", smallest, "--mean", "psnr=40", *JPEG) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "there is no limit"),
        (("--mean", "mse=5"), "mse is optimized and cannot be limited too"),
        (("--optimize", "bytes", "--total", "5k"), "bytes is optimized and cannot be limited too"),
        (("--mean", "beauty=5"), "there is no metric 'beauty'; the metrics are: mse, psnr"),
        (
            ("--optimize", "size", "--total", "5k"),
            "there is no quantity 'size'; choose one of bytes, mse",
        ),
        (("--total", "5 apples"), "is not a whole number of bytes"),
        (("--mean", "lpips"), "'lpips' is not NAME=X"),
        (("--total", "5k", "--weights", "lpips=x.npz"), "--weights lpips=… has an effect if"),
        (("--total", "5k", "--codecs", ","), "--codecs names no codec"),
        (("--total", "5k", "--qualities", "60-20"), "'60-20' is not a quality"),
        (("--total", "5k", "--processes", "0"), "'0' is not a number of processes"),
        (("--total", "5k", "--measurements", "none"), "there is no file or folder none"),
    ],
)
def test_invalid_arguments(arguments, message, capsys):
    assert allocate(*arguments) == 2
    assert message in one_error(capsys)
    assert not pathlib.Path("out").exists()


def test_empty_folders(capsys):
    pathlib.Path("empty").mkdir()
    assert run("allocate", "empty", "-o", "out", "--total", "5k") == 1
    assert "there are no images in this folder" in capsys.readouterr().err


def test_a_codec_that_is_not_installed(monkeypatch, capsys):
    def load(peer: evaluation.Peer) -> None:
        raise evaluation.MissingError("JPEG XL needs the package x: pip install x")

    monkeypatch.setattr(evaluation.Peer, "load", load)
    assert allocate("--total", "5k", "--codecs", "jpegxl") == 1
    assert "JPEG XL needs the package x: pip install x" in one_error(capsys)


def test_results_inside_the_input_folder_are_not_inputs(capsys):
    for _ in range(2):
        assert run("allocate", "in", "-o", "in/out", "--total", "5k", "--force", *JPEG) == 0
    assert not pathlib.Path("in/out/out").exists()


@pytest.mark.parametrize(
    ("text", "number"), [("50k", 50_000), ("50kB", 50_000), ("100MB", 10**8), ("1.5G", 1.5e9)]
)
def test_sizes(text, number):
    from tfc_models.cli import arguments

    assert arguments.size(text) == number


@pytest.mark.slow
def test_a_killed_run_resumes(capsys):
    """SIGKILL during measurements loses none that is complete."""
    for name in "de":
        put(f"in/{name}.png", cropped(200, 200 + ord(name)))
    qualities = ("--codecs", "webp", "--qualities", "1-60", "--total", "100k")
    kept = pathlib.Path("out/measurements.jsonl")
    words = [sys.executable, "-m", "tfc_models.cli", "allocate", "in", "-o", "out", *qualities]
    process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while process.poll() is None and (not kept.exists() or kept.read_bytes().count(b"\n") < 60):
        select.select([], [], [], 0.01)
    process.kill()
    process.wait()
    assert not list(pathlib.Path("out").rglob("*.webp"))
    complete = kept.read_bytes().count(b"\n")
    assert 60 <= complete < 300
    assert allocate(*qualities) == 0
    assert f"{complete} measurements reused." in capsys.readouterr().err
    assert len(list(pathlib.Path("out").rglob("*.webp"))) == 5
