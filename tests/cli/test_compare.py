"""`tfc-models compare`: codecs at the size and at the quality of the model, on a contact sheet."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import pathlib
import sys

import numpy as np
import pytest

from tests.cli.test_cli import one_error, pixels_of, put, run, tree
from tests.conftest import cropped
from tests.quick_codec import GradedCodec, QuickCodec, quick_zoo
from tfc_models import evaluation
from tfc_models.cli import codec_selection
from tfc_models.evaluation import PEERS, sheet

TITLES = ["JPEG", "WebP", "AVIF", "AVIF 4:4:4", "JPEG 2000", "JPEG XL", "HEIC", "HEIC 4:4:4"]
FEW = "--codecs", "jpeg,webp"
needs_all = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("pillow_heif", "pillow_jxl")),
    reason="needs the extra 'peers'",
)


@pytest.fixture(autouse=True)
def zoo(monkeypatch, tmp_path) -> None:
    """Replaces the zoo by a fast variable-rate model."""
    quick_zoo(monkeypatch, lambda name, realism=None, fast=None: GradedCodec())
    monkeypatch.chdir(tmp_path)
    put("photo.png", cropped(180, 240))


@needs_all
def test_contact_sheet_and_tables(capsys):
    assert run("compare", "photo.png") == 0
    assert tree() == {"photo.png", "photo.compare.png"}
    captured = capsys.readouterr()
    assert captured.err == "photo.png → photo.compare.png\n"
    assert all(title in captured.out for title in [*TITLES, "graded", "quality 50"])
    tables = "At the size of graded", "At the PSNR of graded: ", "Settings"
    assert all(title in captured.out for title in tables)
    page = pixels_of("photo.compare.png")
    assert page.shape[1] == 5 * (sheet.WHOLE[0] + sheet.GAP) + sheet.GAP  # Two rows of five.


@needs_all
def test_peers_match_the_size_of_the_model(capsys):
    assert run("compare", "photo.png", "--json", "--quality", 0, "--quiet") == 0
    ours, *others = json.loads(capsys.readouterr().out)["equal_size"]
    assert (ours["codec"], ours["setting"]) == ("graded", "quality 0")
    assert ours["bytes"] == len(GradedCodec().compress(cropped(180, 240), 0))
    assert [other["codec"] for other in others] == TITLES
    for other in others:
        assert 0.85 * ours["bytes"] < other["bytes"] <= 1.01 * ours["bytes"]
        assert other["bpp"] == 8 * other["bytes"] / (180 * 240)
        assert other["psnr"] > 15 and 0.5 < other["ms_ssim"] < 1


@pytest.mark.parametrize("metric", ["psnr", "ms-ssim", "nlpd"])
def test_peers_match_the_quality_of_the_model(capsys, metric):
    assert run("compare", "photo.png", "-q", 75, "--json", "--equal", metric, *FEW) == 0
    document = json.loads(capsys.readouterr().out)
    name = metric.replace("-", "_")
    assert document["equal_quality"]["metric"] == name
    value = document["equal_size"][0][name]
    assert document["equal_quality"]["value"] == value
    ours, *others = document["equal_quality"]["sizes"]
    assert ours["bytes"] == document["equal_size"][0]["bytes"]
    for item, peer in zip(others, (PEERS["jpeg"], PEERS["webp"])):
        # The size is between those of two neighbouring settings, one worse and one better.
        settings = [int(word) for word in item["setting"].split() if word.isdigit()]
        assert settings[-1] - settings[0] <= 1
        around = [figures_at(peer, setting, metric) for setting in settings]
        assert min(f.bytes for f in around) <= item["bytes"] <= max(f.bytes for f in around)
        values = [f.value(name) for f in around]
        assert min(values) <= value <= max(values)


def figures_at(peer: evaluation.Peer, setting: int, metric: str) -> evaluation.Figures:
    image = cropped(180, 240)
    point = evaluation.peer_setting(peer, setting)
    coded = evaluation.code(image, point.encode, point.decode)
    further = [evaluation.quality_metric("nlpd")] if metric == "nlpd" else []
    return evaluation.measure(image, coded, further)


@pytest.mark.parametrize(
    ("quality", "message"), [(0, "in its smallest file"), (100, "out of range: ")]
)
def test_unreachable_quality_is_out_of_range(monkeypatch, capsys, quality, message):
    coarse = evaluation.PEERS["jpeg"].settings[:2] if quality else range(95, 101)
    monkeypatch.setitem(PEERS, "jpeg", with_settings(PEERS["jpeg"], tuple(coarse)))
    assert run("compare", "photo.png", "--quality", quality, "--codecs", "jpeg") == 0
    assert message in capsys.readouterr().out


def with_settings(peer: evaluation.Peer, settings: tuple[float, ...]) -> evaluation.Peer:
    return dataclasses.replace(peer, settings=settings)


def test_lossless_result_has_no_equal_quality(monkeypatch, capsys):
    quick_zoo(monkeypatch, lambda name, realism=None, fast=None: QuickCodec())
    assert run("compare", "photo.png", *FEW) == 0
    captured = capsys.readouterr()
    assert "no sizes at equal PSNR: the model's value is not finite." in captured.err
    assert "At the size of quick" in captured.out and "At the PSNR" not in captured.out


def test_further_metrics_in_table_and_json(capsys):
    assert run("compare", "photo.png", "--metrics", "ssim,nlpd", "--json", *FEW) == 0
    for item in json.loads(capsys.readouterr().out)["equal_size"]:
        assert 0.0 < item["ssim"] < 1.0 and item["nlpd"] > 0.0
    assert run("compare", "photo.png", "--metrics", "nlpd", "--force", *FEW) == 0
    assert "NLPD" in capsys.readouterr().out


def test_settings_of_every_codec_are_listed(capsys):
    arguments = "--codecs", "jpeg,avif", "--avif-speed", "9"
    assert run("compare", "photo.png", "--json", *arguments) == 0
    ours, jpeg, avif = json.loads(capsys.readouterr().out)["codecs"]
    assert ours["library"].startswith("tfc-models ") and "graded" in ours["library"]
    assert "libjpeg-turbo" in jpeg["library"] and "Pillow" in jpeg["library"]
    assert jpeg["options"] == "optimize True, subsampling 4:2:0"
    assert avif["options"] == "speed 9, subsampling 4:2:0"


def test_missing_codecs_are_reported_and_skipped(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    monkeypatch.setattr(
        codec_selection.evaluation, "PEERS", {n: PEERS[n] for n in ("jpeg", "jpegxl")}
    )
    message = "tfc-models compare: JPEG XL needs the package pillow-jxl-plugin: pip install "
    message += "pillow-jxl-plugin. It is skipped.\n"
    assert run("compare", "photo.png", "--json", "--quiet") == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert captured.err == message
    assert [item["codec"] for item in document["equal_size"]] == ["graded", "JPEG"]
    assert [item["name"] for item in document["skipped"]] == ["JPEG XL"]
    # A codec requested by name counts as a failure.
    assert run("compare", "photo.png", "--codecs", "jpeg,jpegxl", "--quiet", "--force") == 1
    assert one_error(capsys) == message


def test_missing_metrics_are_reported_and_skipped(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    arguments = "--metrics", "cvvdp,nlpd", "--json", "--quiet", *FEW
    assert run("compare", "photo.png", *arguments) == 1
    captured = capsys.readouterr()
    assert "CVVDP needs the package cvvdp: pip install cvvdp. It is skipped." in captured.err
    document = json.loads(captured.out)
    assert "nlpd" in document["equal_size"][0] and "cvvdp" not in document["equal_size"][0]
    assert document["skipped"][0]["name"] == "ColorVideoVDP"
    arguments = "--equal", "cvvdp", "--force", "--quiet", *FEW
    assert run("compare", "photo.png", *arguments) == 1
    assert one_error(capsys).endswith("pip install cvvdp. It is skipped.\n")


@pytest.mark.parametrize("size", [(1, 1), (700, 2)], ids=str)
def test_odd_sizes(size):
    put("odd.png", cropped(*size))
    assert run("compare", "odd.png", "--quiet", "-o", "sheet.png") == 0
    assert pixels_of("sheet.png").shape[1] > 1500


def test_failing_codec_is_skipped(monkeypatch, capsys):
    encode = evaluation.Peer.encode

    def no_webp(self, picture, setting):
        if self.name == "webp":
            raise ValueError("no such size")
        return encode(self, picture, setting)

    monkeypatch.setattr(evaluation.Peer, "encode", no_webp)
    assert run("compare", "photo.png", "--quiet", *FEW) == 1
    assert one_error(capsys) == "tfc-models compare: WebP: no such size\n"
    assert tree() == {"photo.png", "photo.compare.png"}


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["photo.png", "-o", "sheet.jpg"], "does not end in .png", 2),
        (["photo.png", "--quality", "101"], "not a whole number from 0 to 100", 2),
        (["photo.png", "--codecs", "bpg"], "there is no codec 'bpg'; the codecs are: jpeg,", 2),
        (["photo.png", "--metrics", "vmaf"], "there is no metric 'vmaf'; the metrics are: ps", 2),
        (["photo.png", "--equal", "vmaf"], "there is no metric 'vmaf'", 2),
        (["photo.png", "--avif-speed", "11"], "not a whole number from 0 to 10", 2),
        (["photo.png", "-m", "nosuch"], "there is no model 'nosuch'", 2),
        (["photo.png", "-o", "there.png"], "--force overwrites it", 1),
        (["photo.png", "-o", "no/such.png"], "there is no folder no", 1),
        (["missing.png"], "missing.png: No such file", 1),
        (["broken.png"], "broken.png: not an image", 1),
        (["clear.png"], "--background", 1),
    ],
)
def test_failures_print_one_line(capsys, arguments, message, code):
    put("there.png")
    put("clear.png", np.zeros((4, 4, 4), np.uint8))
    pathlib.Path("broken.png").write_bytes(b"no")
    before = tree()
    assert run("compare", *arguments) == code
    assert message in one_error(capsys)
    assert tree() == before


def test_fixed_rate_models_reject_quality(monkeypatch, capsys):
    quick_zoo(monkeypatch, lambda name, realism=None, fast=None: QuickCodec())
    assert run("compare", "photo.png", "--quality", 50) == 2
    assert "quick has a fixed rate" in one_error(capsys)


def test_crop_is_where_results_differ():
    image = np.zeros((600, 900, 3), np.uint8)
    other = image.copy()
    other[400:420, 300:320] = 255
    box = sheet.detail_box(image, [other, image])
    assert box.left <= 300 and box.left + box.width >= 320
    assert box.top <= 400 and box.top + box.height >= 420
    assert (box.of(other) == 255).sum() == 20 * 20 * 3


def test_long_names_are_cut_to_the_tile_width():
    page = sheet.tile([], "W" * 200, ["short"], 400)
    assert page.shape[1] == 400
    assert (page[:, -1] == sheet.PAPER).all() or page[:, -3:].min() == sheet.PAPER
