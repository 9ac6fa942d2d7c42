"""Command line with folders: skipped files, failed files, and their messages."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_cli import one_error, pixels_of, put, run
from tests.quick_codec import PHOTO, QuickCodec, quick_zoo
from tfc_models import codec, images
from tfc_models.cli import output


@pytest.fixture
def loads(monkeypatch, tmp_path) -> list[str]:
    """Replaces the zoo by one fast model. Returns the list of loaded models."""
    loaded: list[str] = []

    def load(name: str = "default", *decoders: str | None) -> QuickCodec:
        loaded.append(name)
        return QuickCodec()

    quick_zoo(monkeypatch, load)
    # setattr would look up the real function, and so import TensorFlow.
    monkeypatch.setitem(
        vars(codec), "codec_for", lambda data, realism=None, fast=None: load("quick")
    )
    monkeypatch.chdir(tmp_path)
    return loaded


def test_unsupported_image_formats_in_folders_are_reported(loads, capsys):
    put("in/a.png")
    for name in ("in/b.HEIC", "in/sub/c.jxl", "in/.d.heic", "in/notes.txt"):
        pathlib.Path(name).parent.mkdir(exist_ok=True)
        pathlib.Path(name).write_bytes(b"whatever")
    assert run("compress", "in", "--quiet") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["in/b.HEIC", "in/sub/c.jxl"]
    assert all("cannot be read: convert it to PNG" in line for line in lines)
    assert pathlib.Path("in/a.tfcm").is_file()
    # A folder with unsupported formats only, and one that also has compressed files.
    assert run("compress", "in/sub") == 1
    assert "in/sub/c.jxl: its format" in one_error(capsys)
    assert run("decompress", "in", "-o", "back", "--quiet") == 0


def test_skip_existing(loads, capsys, monkeypatch):
    put("in/a.png")
    put("in/b.png")
    pathlib.Path("in/a.tfcm").write_text("mine")
    assert run("compress", "in", "--skip-existing") == 0
    assert "in/a.png: in/a.tfcm exists; skipped." in capsys.readouterr().err
    assert pathlib.Path("in/a.tfcm").read_text() == "mine"
    assert run("compress", "in", "--skip-existing", "--json", "--quiet") == 0
    results = json.loads(capsys.readouterr().out)
    assert [r["output"] for r in results if r["skipped"]] == ["in/a.tfcm", "in/b.tfcm"]
    assert loads == ["default"]
    with monkeypatch.context() as patch:  # The folder is read-only.
        patch.setattr(os, "access", lambda path, mode: False)
        assert run("compress", "in", "--skip-existing", "--quiet") == 0
    assert run("compress", "in", "--skip-existing", "--force") == 2
    assert "--force and --skip-existing contradict each other" in one_error(capsys)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("file/out.tfcm", "there is no folder file"),
        ("file/", "file is a file, not a folder"),
        ("x" * 300, "name too long"),
        ("closed/out.tfcm", "cannot write to the folder"),
    ],
)
def test_unwritable_outputs_fail_before_loading_a_model(
    loads, capsys, monkeypatch, output, message
):
    put("photo.png")
    pathlib.Path("file").write_text("")
    pathlib.Path("closed").mkdir()
    # The mock is needed because root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: "closed" not in str(path))
    assert run("compress", "photo.png", "-o", output) == 1
    assert message in one_error(capsys)
    assert loads == []


def test_json_escapes_names_that_are_not_utf_8(loads, capsysbinary):
    put("a.png").rename(os.fsdecode(b"\xff.png"))
    assert run("compress", os.fsdecode(b"\xff.png"), "--json", "--quiet") == 0
    (result,) = json.loads(capsysbinary.readouterr().out)
    assert (result["input"], result["output"]) == ("\\xff.png", "\\xff.tfcm")
    json.dumps(result, ensure_ascii=False).encode()  # Must be valid UTF-8.
    output.print_table({"picture": "left"}, [[os.fsdecode(b"\xff.png")]])
    assert b"\\udcff.png" in capsysbinary.readouterr().out


def test_summary_mentions_grey_and_16_bits(loads, capsys):
    grey = PHOTO[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save("deep.png")
    assert run("compress", "deep.png") == 0
    assert ": 30×20 grey, 16 bits a sample to 8, " in capsys.readouterr().err
    assert run("compress", "deep.png", "--force", "--json", "--quiet") == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["grey"] is True and result["source_bits"] == 16
    for suffix in (".png", ".jpg", ".tiff", ".bmp"):
        assert run("decompress", "deep.tfcm", "-o", f"back{suffix}") == 0
        with Image.open(f"back{suffix}") as image:
            assert image.mode == "L"
    assert np.array_equal(pixels_of("back.png"), grey)
    assert run("decompress", "deep.tfcm", "-o", "back.webp") == 0  # WebP has no greyscale.
    assert np.array_equal(pixels_of("back.webp"), images.as_rgb(grey))
    capsys.readouterr()
    assert run("info", "deep.tfcm") == 0
    assert "30×20, grey" in capsys.readouterr().out
