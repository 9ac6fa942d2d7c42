"""`tfc-models compare`: every codec at the size of ours, on one sheet."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from tests.conftest import cropped
from tests.quick_codec import GradedCodec, QuickCodec, quick_zoo
from tests.test_cli import one_error, pixels_of, put, run, tree
from tfc_models import evaluation
from tfc_models.evaluation import sheet

TITLES = ["JPEG", "WebP", "AVIF", "AVIF 4:4:4", "JPEG 2000"]


@pytest.fixture(autouse=True)
def zoo(monkeypatch, tmp_path) -> None:
    """The model is a quick one of many rates."""
    quick_zoo(monkeypatch, lambda name, realism=None: GradedCodec())
    monkeypatch.chdir(tmp_path)
    put("photo.png", cropped(180, 240))


def test_a_sheet_and_a_table(capsys):
    assert run("compare", "photo.png") == 0
    assert tree() == {"photo.png", "photo.compare.png"}
    captured = capsys.readouterr()
    assert captured.err == "photo.png → photo.compare.png\n"
    assert all(title in captured.out for title in [*TITLES, "graded", "quality 50"])
    page = pixels_of("photo.compare.png")
    assert page.shape[1] == 4 * (sheet.WHOLE[0] + sheet.GAP) + sheet.GAP  # two rows of seven


def test_nobody_gets_more_bytes_than_ours(capsys):
    assert run("compare", "photo.png", "--json", "--quality", 0, "--quiet") == 0
    ours, *others = json.loads(capsys.readouterr().out)
    assert (ours["codec"], ours["setting"]) == ("graded", "quality 0")
    assert ours["bytes"] == len(GradedCodec().compress(cropped(180, 240), 0))
    assert [other["codec"] for other in others] == TITLES
    for other in others:
        assert 0.85 * ours["bytes"] < other["bytes"] <= 1.01 * ours["bytes"]
        assert other["bpp"] == 8 * other["bytes"] / (180 * 240)
        assert other["psnr"] > 15 and 0.5 < other["ms_ssim"] < 1


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 2), (20, 30)], ids=str)
def test_odd_sizes(size):
    put("odd.png", cropped(*size))
    assert run("compare", "odd.png", "--quiet", "-o", "sheet.png") == 0
    assert pixels_of("sheet.png").shape[1] > 1500


def test_a_codec_that_cannot_do_the_picture_is_left_out(monkeypatch, capsys):
    encode = evaluation.Peer.encode

    def no_webp(self, picture, setting):
        if self.name == "webp":
            raise ValueError("no such size")
        return encode(self, picture, setting)

    monkeypatch.setattr(evaluation.Peer, "encode", no_webp)
    assert run("compare", "photo.png", "--quiet") == 1
    assert one_error(capsys) == "tfc-models compare: WebP: no such size\n"
    assert tree() == {"photo.png", "photo.compare.png"}


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["photo.png", "-o", "sheet.jpg"], "does not end in .png", 2),
        (["photo.png", "--quality", "101"], "not a whole number from 0 to 100", 2),
        (["photo.png", "-m", "nosuch"], "there is no model 'nosuch'", 2),
        (["photo.png", "-o", "there.png"], "--force overwrites it", 1),
        (["photo.png", "-o", "no/such.png"], "there is no folder no", 1),
        (["missing.png"], "missing.png: No such file", 1),
        (["broken.png"], "broken.png: not a picture", 1),
        (["clear.png"], "--background", 1),
    ],
)
def test_what_cannot_be_done_is_one_line(capsys, arguments, said, code):
    put("there.png")
    put("clear.png", np.zeros((4, 4, 4), np.uint8))
    pathlib.Path("broken.png").write_bytes(b"no")
    before = tree()
    assert run("compare", *arguments) == code
    assert said in one_error(capsys)
    assert tree() == before


def test_models_of_one_rate_take_no_quality(monkeypatch, capsys):
    quick_zoo(monkeypatch, lambda name, realism=None: QuickCodec())
    assert run("compare", "photo.png", "--quality", 50) == 2
    assert "quick has one rate" in one_error(capsys)


def test_the_detail_is_where_the_others_differ():
    picture = np.zeros((600, 900, 3), np.uint8)
    other = picture.copy()
    other[400:420, 300:320] = 255
    box = sheet.detail_box(picture, [other, picture])
    assert box.left <= 300 and box.left + box.width >= 320
    assert box.top <= 400 and box.top + box.height >= 420
    assert (box.of(other) == 255).sum() == 20 * 20 * 3


def test_long_names_are_cut_to_their_tiles():
    page = sheet.tile([], "W" * 200, ["short"], 400)
    assert page.shape[1] == 400
    assert (page[:, -1] == sheet.PAPER).all() or page[:, -3:].min() == sheet.PAPER
