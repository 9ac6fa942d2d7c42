"""`tfc-models evaluate`: what is measured, what is written, and what a second run does."""

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
from tfc_models.evaluation import Journal

METRICS = ("psnr", "ms_ssim")
PLOTS = {f"rd_{metric}.{kind}" for metric in METRICS for kind in ("png", "svg")}
FILES = {"journal.jsonl", "results.csv", "results.json", "bd_rate.md", *PLOTS}
OPTIONS = ("--out", "out", "--points", 2, "--quiet")
SAVE_PLOT = analysis.save_plot


@pytest.fixture(autouse=True)
def coded(monkeypatch, tmp_path) -> list[tuple[str, int]]:
    """A folder of two pictures, and models that are quick; the list says what they coded."""
    done: list[tuple[str, int]] = []

    class Graded(GradedCodec):
        def compress(self, picture: np.ndarray, quality: int = 50) -> bytes:
            done.append(("graded", quality))
            return super().compress(picture, quality)

    class One(GradedCodec):
        """Of one rate, which is the digest that its name ends in."""

        many_rates = False

        def __init__(self, name: str) -> None:
            self.digest = name[-2:]

        def compress(self, picture: np.ndarray) -> bytes:
            done.append(("one", int(self.digest)))
            return super().compress(picture, int(self.digest))

    def load(name: str, realism: str | None = None) -> QuickCodec:
        return One(name) if name.startswith("one") else Graded()

    quick_zoo(monkeypatch, load)
    monkeypatch.setattr(command, "check_model", lambda name: None)
    # Plots are test_analysis' business, and would take most of the time.
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


def test_every_picture_by_every_codec_and_the_means(monkeypatch, capsys):
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


def test_the_bytes_are_those_of_whole_files():
    evaluate("--codecs", "")
    picture = cropped(180, 200)
    sizes = [row["bytes"] for row in results()["results"] if row["picture"] == "a.png"]
    assert sizes == [len(GradedCodec().compress(picture, quality)) for quality in (0, 100)]


def test_csv_says_the_same_as_json():
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


def test_the_bd_rates_are_those_of_the_means():
    evaluate("--codecs", "jpeg,webp", "--points", 4)
    document = results()
    of = {
        name: [(m["bpp"], m["psnr"]) for m in document["means"] if m["codec"] == name]
        for name in ("JPEG", "WebP")
    }
    found = {(r["metric"], r["codec"], r["anchor"]): r["percent"] for r in document["bd_rates"]}
    assert found["psnr", "WebP", "JPEG"] == analysis.bd_rate(of["JPEG"], of["WebP"])
    assert found["psnr", "JPEG", "JPEG"] == 0
    assert ("psnr", "WebP", "quick") not in found
    text = pathlib.Path("out/bd_rate.md").read_text()
    assert "in, mean over 2 pictures." in text
    assert f"{found['psnr', 'WebP', 'JPEG']:+.1f}%".replace("-", "−") in text


def test_a_second_run_measures_nothing_again(coded):
    evaluate("--codecs", "jpeg")
    journal, first = pathlib.Path("out/journal.jsonl").read_bytes(), results()
    coded.clear()
    pathlib.Path("in/a.png").rename("in/renamed.png")
    assert evaluate("--codecs", "jpeg") == 0
    assert coded == []
    assert pathlib.Path("out/journal.jsonl").read_bytes() == journal
    assert results()["means"] == first["means"]


def test_what_has_changed_is_measured_again(coded):
    evaluate("--models", "one-30,one-60", "--codecs", "")
    coded.clear()
    changed = cropped(180, 200).copy()
    changed[0, 0] ^= 255
    put("in/a.png", changed)
    evaluate("--models", "one-30,one-90", "--codecs", "")
    # Once to warm up, once to measure: the new picture by both, the old one by the new model.
    assert sorted(coded) == [("one", 30)] * 2 + [("one", 90)] * 4


@pytest.mark.parametrize("cut", [0, 30])
def test_an_interrupted_run_goes_on(coded, monkeypatch, capsys, cut):
    evaluate("--codecs", "jpeg")
    whole = results()["means"]
    path = pathlib.Path("out/journal.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    for name in written() - {path.name}:
        pathlib.Path("out", name).unlink()
    path.write_bytes(b"".join(lines[:5]) + lines[5][:cut])  # As a kill leaves it.
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


def test_broken_pictures_are_named_and_left_out(capsys):
    data = pathlib.Path("in/a.png").read_bytes()
    pathlib.Path("in/broken.png").write_bytes(data[: len(data) // 2])
    pathlib.Path("in/empty.jpg").write_bytes(b"")
    assert evaluate("--codecs", "jpeg", "--models", "") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("tfc-models evaluate: broken.png: the picture is damaged")
    assert lines[1] == "tfc-models evaluate: empty.jpg: the file is empty. It is left out."
    document = results()
    assert [item["name"] for item in document["left_out"]] == ["broken.png", "empty.jpg"]
    assert {row["picture"] for row in document["results"]} == {"a.png", "b/c.png"}


def test_a_picture_that_one_codec_cannot_do_is_in_nobodys_means(monkeypatch, capsys):
    encode = evaluation.Peer.encode

    def no_wide_ones(self, picture, setting):
        if picture.shape[1] == 200 and self.name == "webp":
            raise OSError("too wide for me")
        return encode(self, picture, setting)

    monkeypatch.setattr(evaluation.Peer, "encode", no_wide_ones)
    assert evaluate("--codecs", "jpeg,webp", "--models", "") == 1
    assert "a.png: too wide for me. It is left out." in one_error(capsys)
    assert {row["picture"] for row in results()["results"]} == {"b/c.png"}


def test_pictures_too_small_for_ms_ssim(capsys):
    evaluate("--codecs", "jpeg")
    put("in/tiny.png", cropped(1, 1))
    assert run("evaluate", "in", "--out", "out", "--codecs", "jpeg", "--points", 2) == 0
    assert "no mean MS-SSIM, for these are too small for it: tiny.png." in capsys.readouterr().err
    assert written() == FILES - {"rd_ms_ssim.png", "rd_ms_ssim.svg"}
    assert {rate["metric"] for rate in results()["bd_rates"]} == {"psnr"}


def test_a_picture_that_comes_back_unchanged_has_no_psnr_but_the_run_goes_on(capsys):
    for path in ("in/a.png", "in/b/c.png"):
        put(path, np.full((180, 180, 3), 128, np.uint8))
    assert run("evaluate", "in", "--out", "out", "--codecs", "webp", "--points", 2) == 0
    assert "no mean PSNR, where a picture came back unchanged" in capsys.readouterr().err
    assert any(row["psnr"] is None for row in results()["results"])


def test_models_of_one_rate_make_a_curve_together():
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
    found = {(r["metric"], r["codec"], r["anchor"]): r["percent"] for r in document["bd_rates"]}
    assert found["nlpd", "WebP", "JPEG"] == analysis.bd_rate(of["JPEG"], of["WebP"])
    assert "## NLPD" in pathlib.Path("out/bd_rate.md").read_text()
    first = next(csv.DictReader(io.StringIO(pathlib.Path("out/results.csv").read_text())))
    assert float(first["nlpd"]) == pytest.approx(document["results"][0]["nlpd"], rel=1e-4)
    # Without the metric its plots would be of another run.
    assert evaluate("--codecs", "jpeg,webp", "--points", 4) == 0
    assert written() == FILES


def test_a_further_metric_is_measured_once(coded):
    evaluate("--codecs", "")
    assert evaluate("--codecs", "", "--metrics", "nlpd") == 0
    assert evaluate("--codecs", "", "--metrics", "ssim") == 0
    coded.clear()
    assert evaluate("--codecs", "", "--metrics", "ssim,nlpd") == 0
    assert coded == []
    assert all(row["nlpd"] > 0.0 and row["ssim"] > 0.0 for row in results()["results"])


def test_pictures_too_small_for_a_further_metric(capsys):
    put("in/tiny.png", cropped(20, 20))
    arguments = "--codecs", "jpeg", "--points", 2, "--metrics", "nlpd"
    assert run("evaluate", "in", "--out", "out", *arguments) == 0
    assert "no mean NLPD, for these are too small for it: tiny.png." in capsys.readouterr().err
    assert {rate["metric"] for rate in results()["bd_rates"]} == {"psnr"}


def test_the_settings_of_every_codec_are_listed(capsys):
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
def test_codecs_that_are_not_installed_are_named_and_skipped(monkeypatch, capsys, codecs, code):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    few = {name: evaluation.PEERS[name] for name in ("jpeg", "heic")}
    monkeypatch.setattr(evaluation, "PEERS", few)
    assert evaluate(*codecs) == code
    reason = "HEIC needs the package pillow-heif: pip install pillow-heif"
    assert one_error(capsys) == f"tfc-models evaluate: {reason}. It is skipped.\n"
    assert results()["skipped"] == [{"name": "HEIC", "reason": reason}]
    assert [item["name"] for item in results()["codecs"]] == ["quick", "JPEG"]
    assert f"Skipped: {reason}." in pathlib.Path("out/bd_rate.md").read_text()


def test_metrics_that_are_not_installed_are_named_and_skipped(monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert evaluate("--codecs", "jpeg", "--metrics", "butteraugli,nlpd") == 1
    assert "Butteraugli needs the program butteraugli_main: " in one_error(capsys)
    assert {rate["metric"] for rate in results()["bd_rates"]} >= {"psnr", "nlpd"}


def test_only_codecs_that_are_not_installed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert evaluate("--models", "", "--codecs", "heic") == 1
    assert "none of the codecs is installed." in capsys.readouterr().err
    assert not pathlib.Path("out").exists()


def test_options_of_an_encoder_are_passed_on_and_told():
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


def test_our_own_plots_are_no_pictures():
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
    ("arguments", "said"),
    [
        (
            ["--codecs", "jpeg,bpg"],
            "no codec 'bpg'; the codecs are: jpeg, webp, avif, avif-444, jpeg2000, jpegxl, heic",
        ),
        (["--codecs", "", "--models", ""], "nothing to evaluate"),
        (["--models", "JPEG=one-10+one-20"], "names of their own"),
        (["--models", "a=one-10,a=one-20"], "names of their own"),
        (["--metrics", "psnr,vmaf"], "no metric 'vmaf'; the metrics are: psnr, ms-ssim, ssim"),
        (["--avif-speed", "-1"], "from 0 to 10"),
        (["--points", "1"], "2 to 100"),
        (["--points", "many"], "2 to 100"),
        (["--out", "in"], "--out is the folder of the pictures"),
    ],
)
def test_usage_errors(coded, capsys, arguments, said):
    assert evaluate(*arguments) == 2
    assert said in one_error(capsys)
    assert coded == [] and not pathlib.Path("out").exists()


def test_an_unknown_model_stops_before_the_work(monkeypatch, capsys):
    monkeypatch.undo()
    assert run("evaluate", "tests", "--models", "nosuch", "--out", "nowhere") == 2
    assert "there is no model 'nosuch'" in one_error(capsys)


@pytest.mark.parametrize(
    ("folder", "out", "said"),
    [
        ("empty", "out", "there are no pictures in this folder"),
        ("missing", "out", "missing: No such file"),
        ("in", "file/out", "cannot make the folder file/out"),
        ("in", "file", "cannot make the folder file"),
        ("in", "odd", "cannot write odd/journal.jsonl"),
        ("in", "others", "results.csv exists, without the journal.jsonl"),
    ],
)
def test_what_cannot_be_done_is_one_line(coded, capsys, folder, out, said):
    for name in ("empty", "others", "odd/journal.jsonl"):
        pathlib.Path(name).mkdir(parents=True)
    pathlib.Path("others/results.csv").write_text("mine")
    pathlib.Path("file").write_text("")
    assert run("evaluate", folder, "--out", out) == 1
    assert said in one_error(capsys)
    assert coded == []
    assert pathlib.Path("others/results.csv").read_text() == "mine"


def test_a_full_disk_ends_the_run(monkeypatch, capsys):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def on_a_full_disk(self, path, metrics=()):
        init(self, path, metrics)
        self.close()
        self._file = Full()

    init = Journal.__init__
    monkeypatch.setattr(Journal, "__init__", on_a_full_disk)
    assert evaluate("--codecs", "jpeg") == 1
    assert "cannot write out/journal.jsonl: No space left on device." in one_error(capsys)


def test_progress_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    pathlib.Path("in/broken.png").write_bytes(b"no")
    run("evaluate", "in", "--out", "out", "--models", "", "--codecs", "jpeg", "--points", 2)
    shown = capsys.readouterr().err
    assert "evaluating" in shown and "6/6" in shown
    assert "broken.png: not a picture" in shown
