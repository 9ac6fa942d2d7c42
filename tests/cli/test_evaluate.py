"""`tfc-models evaluate`: measurements, output files, and resumed runs."""

from __future__ import annotations

import csv
import errno
import io
import json
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_cli import one_error, put, run
from tests.conftest import cropped
from tests.quick_codec import GradedCodec, QuickCodec, quick_zoo
from tfc_models import analysis, evaluation
from tfc_models.cli.commands import evaluate as command
from tfc_models.evaluation.journal import GrowingFile, Journal

METRICS = ("psnr", "ms_ssim")
PLOTS = {f"rd_{metric}.{kind}" for metric in METRICS for kind in ("png", "svg")}
FILES = {"journal.jsonl", "results.csv", "results.json", "bd_rate.md", *PLOTS}
OPTIONS = ("--out", "out", "--points", 2, "--quiet")
SAVE_PLOT = analysis.save_plot


@pytest.fixture(autouse=True)
def coded(monkeypatch, tmp_path) -> list[tuple[str, int]]:
    """Creates a folder of two images and fast models. Returns the list of encodings."""
    done: list[tuple[str, int]] = []

    class Graded(GradedCodec):
        def compress(self, picture: np.ndarray, quality: int = 50) -> bytes:
            done.append(("graded", quality))
            return super().compress(picture, quality)

    class One(GradedCodec):
        """Fixed-rate model. The end of its name is its digest and its quality."""

        many_rates = False

        def __init__(self, name: str) -> None:
            self.digest = name[-2:]

        def compress(self, picture: np.ndarray) -> bytes:
            done.append(("one", int(self.digest)))
            return super().compress(picture, int(self.digest))

    def load(name: str, *decoders: str | None) -> QuickCodec:
        return One(name) if name.startswith("one") else Graded()

    quick_zoo(monkeypatch, load)
    monkeypatch.setattr(command, "check_model", lambda name: None)
    # test_analysis tests plots, which would take most of the time here.
    monkeypatch.setattr(analysis, "save_plot", lambda figure, kind: kind.encode())
    monkeypatch.chdir(tmp_path)
    put("in/a.png", cropped(180, 200))
    put("in/b/c.png", cropped(400, 190)[200:])
    return done


def evaluate(*arguments: object) -> int:
    return run("evaluate", "in", *OPTIONS, *arguments)


def results() -> dict:
    return json.loads(pathlib.Path("out/results.json").read_text())


def written() -> set[str]:
    return {path.name for path in pathlib.Path("out").iterdir()}


def test_results_of_every_image_and_codec_and_means(monkeypatch, capsys):
    monkeypatch.setattr(analysis, "save_plot", SAVE_PLOT)
    assert run("evaluate", "in", "--out", "out", "--points", "3", "--codecs", "jpeg,webp") == 0
    assert written() == FILES
    document = results()
    assert document["left_out"] == []
    assert document["pictures"] == [
        {"name": "a.png", "width": 200, "height": 180},
        {"name": "b/c.png", "width": 190, "height": 200},
    ]
    assert len(document["results"]) == 2 * 3 * 3
    with Image.open("out/rd_psnr.png") as image:
        assert image.width > 900
    for mean in document["means"]:
        rows = [
            row
            for row in document["results"]
            if (row["codec"], row["setting"]) == (mean["codec"], mean["setting"])
        ]
        assert [row["picture"] for row in rows] == ["a.png", "b/c.png"]
        for name in ("bpp", "psnr", "ms_ssim", "encode_seconds", "decode_seconds"):
            assert mean[name] == pytest.approx(np.mean([row[name] for row in rows]))
        assert rows[0]["bpp"] == 8 * rows[0]["bytes"] / (200 * 180)
    names = [(mean["codec"], mean["setting"]) for mean in document["means"]]
    assert names[:4] == [
        ("quick", "quality 0"),
        ("quick", "quality 50"),
        ("quick", "quality 100"),
        ("JPEG", "quality 4"),
    ]
    captured = capsys.readouterr()
    assert "BD-rate in PSNR" in captured.out and "Settings" in captured.out
    assert "out: bd_rate.md, journal.jsonl" in captured.err


def test_bytes_include_headers():
    evaluate("--codecs", "")
    picture = cropped(180, 200)
    sizes = [row["bytes"] for row in results()["results"] if row["picture"] == "a.png"]
    assert sizes == [len(GradedCodec().compress(picture, quality)) for quality in (0, 100)]


def test_csv_equals_json():
    evaluate("--codecs", "jpeg")
    document = results()
    rows = list(csv.DictReader(io.StringIO(pathlib.Path("out/results.csv").read_text())))
    singles = [row for row in rows if row["picture"] != "mean"]
    for row, item in zip(singles, document["results"]):
        assert (row["picture"], row["codec"]) == (item["picture"], item["codec"])
        assert int(row["bytes"]) == item["bytes"]
        assert float(row["psnr"]) == pytest.approx(item["psnr"], rel=1e-4)
    averages = [row for row in rows if row["picture"] == "mean"]
    assert [float(row["bpp"]) for row in averages] == pytest.approx(
        [mean["bpp"] for mean in document["means"]], rel=1e-4
    )


def test_bd_rates_use_means():
    evaluate("--codecs", "jpeg,webp", "--points", 4)
    document = results()
    of = {
        name: [(m["bpp"], m["psnr"]) for m in document["means"] if m["codec"] == name]
        for name in ("JPEG", "WebP")
    }
    result = {(r["metric"], r["codec"], r["anchor"]): r["percent"] for r in document["bd_rates"]}
    assert result["psnr", "WebP", "JPEG"] == analysis.bd_rate(of["JPEG"], of["WebP"])
    assert result["psnr", "JPEG", "JPEG"] == 0
    assert ("psnr", "WebP", "quick") not in result
    text = pathlib.Path("out/bd_rate.md").read_text()
    assert "in, mean over 2 images." in text
    assert f"{result['psnr', 'WebP', 'JPEG']:+.1f}%".replace("-", "−") in text


def test_second_run_reuses_measurements(coded):
    evaluate("--codecs", "jpeg")
    journal, first = pathlib.Path("out/journal.jsonl").read_bytes(), results()
    coded.clear()
    pathlib.Path("in/a.png").rename("in/renamed.png")
    assert evaluate("--codecs", "jpeg") == 0
    assert coded == []
    assert pathlib.Path("out/journal.jsonl").read_bytes() == journal
    assert results()["means"] == first["means"]


def test_changes_are_measured_again(coded):
    evaluate("--models", "one-30,one-60", "--codecs", "")
    coded.clear()
    changed = cropped(180, 200).copy()
    changed[0, 0] ^= 255
    put("in/a.png", changed)
    evaluate("--models", "one-30,one-90", "--codecs", "")
    # Each encodes twice (warm-up, measurement): the new image with both models, the old image with
    # the new model.
    assert sorted(coded) == [("one", 30)] * 2 + [("one", 90)] * 4


@pytest.mark.parametrize("cut", [0, 30])
def test_interrupted_run_resumes(coded, monkeypatch, capsys, cut):
    evaluate("--codecs", "jpeg")
    whole = results()["means"]
    path = pathlib.Path("out/journal.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    for name in written() - {path.name}:
        pathlib.Path("out", name).unlink()
    path.write_bytes(b"".join(lines[:5]) + lines[5][:cut])  # Simulates a killed run.
    add, added = Journal.add, []

    def interrupted(self, *arguments):
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(arguments)
        add(self, *arguments)

    monkeypatch.setattr(Journal, "add", interrupted)
    assert evaluate("--codecs", "jpeg") == 130
    assert written() == {path.name}
    monkeypatch.setattr(Journal, "add", add)
    assert evaluate("--codecs", "jpeg") == 0
    now = results()["means"]
    assert [(m["bpp"], m["psnr"]) for m in now] == [(m["bpp"], m["psnr"]) for m in whole]
    known = [line for line in path.read_bytes().splitlines() if line.endswith(b"}")]
    assert len(known) == len(set(known)) == 8


def test_broken_images_are_reported_and_skipped(capsys):
    data = pathlib.Path("in/a.png").read_bytes()
    pathlib.Path("in/broken.png").write_bytes(data[: len(data) // 2])
    pathlib.Path("in/empty.jpg").write_bytes(b"")
    assert evaluate("--codecs", "jpeg", "--models", "") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("tfc-models evaluate: broken.png: the image is damaged")
    assert lines[1] == "tfc-models evaluate: empty.jpg: the file is empty. It is skipped."
    document = results()
    assert [item["name"] for item in document["left_out"]] == ["broken.png", "empty.jpg"]
    assert {row["picture"] for row in document["results"]} == {"a.png", "b/c.png"}


def test_image_that_one_codec_rejects_is_in_no_means(monkeypatch, capsys):
    encode = evaluation.Peer.encode

    def no_wide_ones(self, picture, setting):
        if picture.shape[1] == 200 and self.name == "webp":
            raise OSError("too wide for me")
        return encode(self, picture, setting)

    monkeypatch.setattr(evaluation.Peer, "encode", no_wide_ones)
    assert evaluate("--codecs", "jpeg,webp", "--models", "") == 1
    assert "a.png: too wide for me. It is skipped." in one_error(capsys)
    assert {row["picture"] for row in results()["results"]} == {"b/c.png"}


def test_images_too_small_for_ms_ssim(capsys):
    evaluate("--codecs", "jpeg")
    put("in/tiny.png", cropped(1, 1))
    assert run("evaluate", "in", "--out", "out", "--codecs", "jpeg", "--points", 2) == 0
    assert "no mean MS-SSIM, for these are too small for it: tiny.png." in capsys.readouterr().err
    assert written() == FILES - {"rd_ms_ssim.png", "rd_ms_ssim.svg"}
    assert {rate["metric"] for rate in results()["bd_rates"]} == {"psnr"}


def test_lossless_result_has_no_mean_psnr(capsys):
    for path in ("in/a.png", "in/b/c.png"):
        put(path, np.full((180, 180, 3), 128, np.uint8))
    assert run("evaluate", "in", "--out", "out", "--codecs", "webp", "--points", 2) == 0
    assert "no mean PSNR, where an image came back unchanged" in capsys.readouterr().err
    assert any(row["psnr"] is None for row in results()["results"])


def test_fixed_rate_models_form_a_curve():
    assert evaluate("--models", "one-10,many=one-10+one-60,one-20+one-70", "--codecs", "jpeg") == 0
    document = results()
    settings = {}
    for mean in document["means"]:
        settings.setdefault(mean["codec"], []).append(mean["setting"])
    del settings["JPEG"]
    assert settings == {
        "one-10": ["one-10"],
        "many": ["one-10", "one-60"],
        "one-20+one-70": ["one-20", "one-70"],
    }
    reasons = {rate["codec"]: rate["reason"] for rate in document["bd_rates"]}
    assert "a curve needs two points, and one-10 has 1" in reasons["one-10"]
    assert "(1) a curve needs two points" in pathlib.Path("out/bd_rate.md").read_text()


def test_further_metrics_have_means_bd_rates_and_plots():
    arguments = "--codecs", "jpeg,webp", "--points", 4, "--metrics", "nlpd,ssim,psnr"
    assert evaluate(*arguments) == 0
    plots = {f"rd_{name}.{kind}" for name in ("nlpd", "ssim") for kind in ("png", "svg")}
    assert written() == FILES | plots
    document = results()
    for mean in document["means"]:
        rows = [r for r in document["results"] if r["setting"] == mean["setting"]]
        rows = [row for row in rows if row["codec"] == mean["codec"]]
        assert mean["nlpd"] == pytest.approx(np.mean([row["nlpd"] for row in rows]))
    of = {
        name: [(m["bpp"], -m["nlpd"]) for m in document["means"] if m["codec"] == name]
        for name in ("JPEG", "WebP")
    }
    result = {(r["metric"], r["codec"], r["anchor"]): r["percent"] for r in document["bd_rates"]}
    assert result["nlpd", "WebP", "JPEG"] == analysis.bd_rate(of["JPEG"], of["WebP"])
    assert "## NLPD" in pathlib.Path("out/bd_rate.md").read_text()
    first = next(csv.DictReader(io.StringIO(pathlib.Path("out/results.csv").read_text())))
    assert float(first["nlpd"]) == pytest.approx(document["results"][0]["nlpd"], rel=1e-4)
    # Plots of a metric that is not measured any more are deleted.
    assert evaluate("--codecs", "jpeg,webp", "--points", 4) == 0
    assert written() == FILES


def test_further_metric_is_measured_once(coded):
    evaluate("--codecs", "")
    assert evaluate("--codecs", "", "--metrics", "nlpd") == 0
    assert evaluate("--codecs", "", "--metrics", "ssim") == 0
    coded.clear()
    assert evaluate("--codecs", "", "--metrics", "ssim,nlpd") == 0
    assert coded == []
    assert all(row["nlpd"] > 0.0 and row["ssim"] > 0.0 for row in results()["results"])


def test_images_too_small_for_a_further_metric(capsys):
    put("in/tiny.png", cropped(20, 20))
    arguments = "--codecs", "jpeg", "--points", 2, "--metrics", "nlpd"
    assert run("evaluate", "in", "--out", "out", *arguments) == 0
    assert "no mean NLPD, for these are too small for it: tiny.png." in capsys.readouterr().err
    assert {rate["metric"] for rate in results()["bd_rates"]} == {"psnr"}


def test_settings_of_every_codec_are_listed(capsys):
    arguments = "--codecs", "jpeg,avif", "--points", 2, "--avif-speed", 10
    assert run("evaluate", "in", "--out", "out", *arguments) == 0
    listed = {item["name"]: item for item in results()["codecs"]}
    assert listed["AVIF"]["options"] == "speed 10, subsampling 4:2:0"
    assert listed["AVIF"]["settings"] == ["quality 15", "quality 91"]
    assert listed["quick"]["library"].startswith("tfc-models ")
    report = pathlib.Path("out/bd_rate.md").read_text()
    table = pathlib.Path("out/results.csv").read_text()
    printed = capsys.readouterr().out
    for item in listed.values():
        assert all(item["library"] in text for text in (report, printed))
        assert item["options"] in report and item["options"] in table


@pytest.mark.parametrize(("codecs", "code"), [((), 0), (("--codecs", "jpeg,heic"), 1)])
def test_missing_codecs_are_reported_and_skipped(monkeypatch, capsys, codecs, code):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    few = {name: evaluation.PEERS[name] for name in ("jpeg", "heic")}
    monkeypatch.setattr(evaluation, "PEERS", few)
    assert evaluate(*codecs) == code
    reason = "HEIC needs the package pillow-heif: pip install pillow-heif"
    assert one_error(capsys) == f"tfc-models evaluate: {reason}. It is skipped.\n"
    assert results()["skipped"] == [{"name": "HEIC", "reason": reason}]
    assert [item["name"] for item in results()["codecs"]] == ["quick", "JPEG"]
    assert f"Skipped: {reason}." in pathlib.Path("out/bd_rate.md").read_text()


def test_missing_metrics_are_reported_and_skipped(monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert evaluate("--codecs", "jpeg", "--metrics", "butteraugli,nlpd") == 1
    assert "Butteraugli needs the program butteraugli_main: " in one_error(capsys)
    assert {rate["metric"] for rate in results()["bd_rates"]} >= {"psnr", "nlpd"}


def test_no_codec_installed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert evaluate("--models", "", "--codecs", "heic") == 1
    assert "none of the codecs is installed." in capsys.readouterr().err
    assert not pathlib.Path("out").exists()


def test_encoder_options_are_passed_on_and_recorded():
    calls = []

    class Slow(GradedCodec):
        def compress(self, picture, quality=50, effort=0):
            calls.append((quality, effort))
            return super().compress(picture, quality)

    plain, slow = (
        evaluation.model_contender("m", {"m": Slow()}, 2, **options)
        for options in ({}, {"effort": 9})
    )
    assert [setting.label for setting in plain.settings] == ["quality 0", "quality 100"]
    assert [s.label for s in slow.settings] == ["quality 0, effort 9", "quality 100, effort 9"]
    assert (plain.options, slow.options) == ("", "effort 9")
    assert len({setting.identity for setting in (*plain.settings, *slow.settings)}) == 4
    picture = cropped(20, 20)
    for contender in (plain, slow):
        setting = contender.settings[1]
        assert setting.decode(setting.encode(picture)).shape == picture.shape
    assert calls == [(100, 0), (100, 9)]


def test_plots_are_not_evaluated():
    assert (
        run("evaluate", "in", "--out", "in/b/out", "--codecs", "jpeg", "--quiet", "--models", "")
        == 0
    )
    assert (
        run("evaluate", "in", "--out", "in/b/out", "--codecs", "jpeg", "--quiet", "--models", "")
        == 0
    )
    document = json.loads(pathlib.Path("in/b/out/results.json").read_text())
    assert [picture["name"] for picture in document["pictures"]] == ["a.png", "b/c.png"]


def test_json(capsys):
    assert evaluate("--codecs", "jpeg", "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == results()
    assert captured.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--codecs", "jpeg,bpg"],
            "no codec 'bpg'; the codecs are: jpeg, webp, avif, avif-444, jpeg2000, jpegxl, heic",
        ),
        (["--codecs", "", "--models", ""], "--models and --codecs name no codec"),
        (["--models", "JPEG=one-10+one-20"], "each curve needs a unique name"),
        (["--models", "a=one-10,a=one-20"], "each curve needs a unique name"),
        (["--metrics", "psnr,vmaf"], "no metric 'vmaf'; the metrics are: psnr, ms-ssim, ssim"),
        (["--avif-speed", "-1"], "from 0 to 10"),
        (["--points", "1"], "2 to 100"),
        (["--points", "many"], "2 to 100"),
        (["--out", "in"], "--out must not be the folder of images"),
    ],
)
def test_usage_errors(coded, capsys, arguments, message):
    assert evaluate(*arguments) == 2
    assert message in one_error(capsys)
    assert coded == [] and not pathlib.Path("out").exists()


def test_unknown_model_fails_before_any_work(monkeypatch, capsys):
    monkeypatch.undo()
    assert run("evaluate", "tests", "--models", "nosuch", "--out", "nowhere") == 2
    assert "there is no model 'nosuch'" in one_error(capsys)


@pytest.mark.parametrize(
    ("folder", "out", "message"),
    [
        ("empty", "out", "there are no images in this folder"),
        ("missing", "out", "missing: No such file"),
        ("in", "file/out", "cannot create the folder file/out"),
        ("in", "file", "cannot create the folder file"),
        ("in", "odd", "cannot write odd/journal.jsonl"),
        ("in", "others", "results.csv exists, but the folder has no journal.jsonl"),
    ],
)
def test_failures_print_one_line(coded, capsys, folder, out, message):
    for name in ("empty", "others", "odd/journal.jsonl"):
        pathlib.Path(name).mkdir(parents=True)
    pathlib.Path("others/results.csv").write_text("mine")
    pathlib.Path("file").write_text("")
    assert run("evaluate", folder, "--out", out) == 1
    assert message in one_error(capsys)
    assert coded == []
    assert pathlib.Path("others/results.csv").read_text() == "mine"


def test_full_disk_ends_the_run(monkeypatch, capsys):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def on_a_full_disk(self, path):
        init(self, path)
        self.close()
        self._file = Full()

    init = GrowingFile.__init__
    monkeypatch.setattr(GrowingFile, "__init__", on_a_full_disk)
    assert evaluate("--codecs", "jpeg") == 1
    assert "cannot write out/journal.jsonl: No space left on device." in one_error(capsys)


def test_progress_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    pathlib.Path("in/broken.png").write_bytes(b"no")
    run("evaluate", "in", "--out", "out", "--models", "", "--codecs", "jpeg", "--points", 2)
    shown = capsys.readouterr().err
    assert "evaluating" in shown and "6/6" in shown
    assert "broken.png: not an image" in shown
