"""Command line: outputs, messages, exit codes and cleanup after errors.

These tests call `main` in this process with a fast codec instead of a model. The tests in
test_cli_processes.py run the command in processes of its own.
"""

from __future__ import annotations

import errno
import io
import json
import os
import pathlib
import sys
import types

import numpy as np
import pytest
from PIL import Image

import tfc_models
from tests.quick_codec import PHOTO, QuickCodec, quick_zoo
from tfc_models import codec, images
from tfc_models.cli.main import COMMANDS, main
from tfc_models.codec import container


@pytest.fixture
def loads(monkeypatch, tmp_path) -> list[str]:
    """Replaces the zoo by one fast model. Returns the list of loaded models."""
    loaded: list[str] = []

    def load(name: str = "default", *decoders: str | None) -> QuickCodec:
        loaded.append(name)
        return QuickCodec()

    def codec_for(data: bytes, *decoders: str | None) -> QuickCodec:
        header = tfc_models.inspect(data)
        if header.model != "quick":
            raise tfc_models.BitstreamError(f"compressed with model {header.model}.")
        return load(header.model)

    quick_zoo(monkeypatch, load)
    # setattr would look up the real function, and so import TensorFlow.
    monkeypatch.setitem(vars(codec), "codec_for", codec_for)
    monkeypatch.chdir(tmp_path)
    return loaded


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def put(name: str, pixels: np.ndarray = PHOTO) -> pathlib.Path:
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def pixels_of(name: object) -> np.ndarray:
    with Image.open(str(name)) as image:
        return np.asarray(image)


def tree() -> set[str]:
    return {str(path) for path in pathlib.Path().rglob("*") if path.is_file()}


def one_error(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("tfc-models")
    assert captured.out == ""
    return captured.err


def pipe(monkeypatch, data: bytes) -> io.BytesIO:
    """Replaces standard input by data. Returns the buffer of standard output."""
    out = io.BytesIO()
    for name, stream in (("stdin", io.BytesIO(data)), ("stdout", out)):
        fake = types.SimpleNamespace(buffer=stream, isatty=lambda: False, flush=lambda: None)
        monkeypatch.setattr(sys, name, fake)
    return out


def test_compress_and_decompress(loads, capsys):
    put("photo.png")
    assert run("compress", "photo.png") == 0
    pathlib.Path("photo.png").unlink()
    assert run("decompress", "photo.tfcm") == 0
    assert np.array_equal(pixels_of("photo.png"), PHOTO)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("photo.png → photo.tfcm: 30×20, ")
    assert tree() == {"photo.png", "photo.tfcm"}


@pytest.mark.parametrize("suffix", sorted(images.WRITERS))
def test_format_by_extension(loads, suffix):
    put("photo.png")
    run("compress", "photo.png")
    assert run("decompress", "photo.tfcm", "-o", f"copy{suffix}") == 0
    with Image.open(f"copy{suffix}") as image:
        assert image.format == images.WRITERS[suffix].pillow_name


@pytest.mark.parametrize(
    "arguments",
    [("-o", "copy.xyz"), ("-o", "copy"), ("--format", "xyz"), ("--format", "png", "-o", "a.jpg")],
)
def test_invalid_format_fails_before_loading_a_model(loads, capsys, arguments):
    put("photo.png")
    run("compress", "photo.png", "--quiet")
    loads.clear()
    assert run("decompress", "photo.tfcm", *arguments) == 2
    error = one_error(capsys)
    assert "contradicts" in error or ".png, .jpg" in error
    assert loads == []


def test_folders_keep_their_structure(loads):
    for name in ("in/a.png", "in/b/c.JPG", "in/b/d.tif", "in/.hidden/e.png", "in/.f.png"):
        put(name)
    pathlib.Path("in/notes.txt").write_text("not a picture")
    assert run("compress", "in", "-o", "out") == 0
    assert {n for n in tree() if n.startswith("out")} == {
        "out/a.tfcm",
        "out/b/c.tfcm",
        "out/b/d.tfcm",
    }
    assert loads == ["default"]
    assert run("decompress", "out", "-o", "back", "--format", "webp") == 0
    assert np.array_equal(pixels_of("back/a.webp"), PHOTO)
    assert loads == ["default", "quick"]


def test_outputs_are_written_next_to_inputs(loads):
    put("a/x.png")
    put("b/y.v2.png")
    assert run("compress", "a", "b/y.v2.png", "a/x.png") == 0
    assert tree() == {"a/x.png", "a/x.tfcm", "b/y.v2.png", "b/y.v2.tfcm"}


def test_output_folder_for_one_input(loads):
    put("x.png")
    pathlib.Path("there").mkdir()
    assert run("compress", "x.png", "-o", "there") == 0
    assert run("compress", "x.png", "-o", "new/") == 0
    assert tree() == {"x.png", "there/x.tfcm", "new/x.tfcm"}


def test_inputs_with_the_same_output_fail(loads, capsys):
    put("in/a.png")
    put("in/a.jpg")
    put("in/b.png")
    before = tree()
    assert run("compress", "in", "--force", "--quiet") == 1
    message = capsys.readouterr().err
    assert "in/a.jpg: in/a.png would be written to in/a.tfcm as well" in message
    assert "in/a.png: in/a.jpg would be written to in/a.tfcm as well" in message
    assert tree() == before | {"in/b.tfcm"}


def test_existing_output_needs_force(loads, capsys):
    put("photo.png")
    pathlib.Path("photo.tfcm").write_text("mine")
    assert run("compress", "photo.png") == 1
    assert "photo.tfcm exists; --force overwrites it" in one_error(capsys)
    assert pathlib.Path("photo.tfcm").read_text() == "mine"
    assert loads == []
    assert run("compress", "photo.png", "--force") == 0
    assert tfc_models.inspect(pathlib.Path("photo.tfcm").read_bytes()).width == 30


def test_output_must_not_be_the_input(loads, capsys):
    photo = put("photo.png")
    os.link(photo, "same.tfcm")
    assert run("compress", "photo.png", "-o", "same.tfcm", "--force") == 1
    assert "same file" in one_error(capsys)
    assert np.array_equal(pixels_of("photo.png"), PHOTO)


def test_invalid_files_do_not_stop_the_others(loads, capsys):
    put("a.png")
    pathlib.Path("b.png").write_bytes(b"hello")
    pathlib.Path("c.png").write_bytes(pathlib.Path("a.png").read_bytes()[:400])
    put("d.png")
    assert run("compress", "a.png", "b.png", "c.png", "d.png", "missing.png", "--quiet") == 1
    lines = capsys.readouterr().err.splitlines()
    starts = [f"tfc-models compress: {name}.png: " for name in ("b", "c", "missing")]
    assert all(line.startswith(start) for line, start in zip(lines, starts)), lines
    assert len(lines) == 3
    assert {"a.tfcm", "d.tfcm"} == {name for name in tree() if name.endswith(".tfcm")}


def test_damaged_compressed_files_fail(loads, capsys):
    put("photo.png")
    run("compress", "photo.png", "--quiet")
    data = pathlib.Path("photo.tfcm").read_bytes()
    for damaged in (b"", data[:-3], data[:50] + b"?" + data[51:], b"PNG" + data):
        pathlib.Path("bad.tfcm").write_bytes(damaged)
        assert run("decompress", "bad.tfcm") == 1
        assert "bad.tfcm: " in one_error(capsys)
        assert not pathlib.Path("bad.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required"),
        (["shrink", "photo.png"], "invalid choice"),
        (["compress"], "required"),
        (["compress", "photo.png", "--fast"], "unrecognized"),
        (["compress", "photo.png", "-o", "b.png"], "has the suffix of an image"),
        (["compress", "photo.png", "-m", "nosuch"], "the models are: quick"),
        (["compress", "photo.png", "--background", "whitish"], "'whitish' is not a colour"),
        (["compress", "photo.png", "--max-pixels", "many"], "not a whole number above 0"),
        (["compress", "photo.png", "photo2.png", "-o", "-"], "give a folder"),
        (["compress", "photo.png", "photo2.png", "-o", "photo.png.tfcm"], "is a file"),
        (["compress", "photo.png", "-"], "cannot be combined with other inputs"),
        (["compress", "photo.png", "-o", "-", "--json"], "--json writes to standard output"),
        (["export"], "required"),
        (["compress", "x.png", "-q", "101"], "0 to 100"),
        (["compress", "x.png", "-q", "5", "--target-bpp", "1"], "not allowed with"),
        (["compress", "x.png", "--target-bpp", "0"], "above 0"),
    ],
)
def test_usage_errors(loads, capsys, arguments, message):
    put("photo.png")
    pathlib.Path("photo.png.tfcm").write_text("")
    assert run(*arguments) == 2
    assert message in one_error(capsys)
    assert loads == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compress", "empty"], "no images in this folder"),
        (["decompress", "empty"], "no .tfcm files in this folder"),
        (["compress", "photo.png", "-o", "no/such/x.tfcm"], "there is no folder no/such"),
        (["compress", "photo.png", "--max-pixels", "599"], "--max-pixels"),
        (["compress", "photo.png", "--max-side", "29"], "--max-side"),
        (["compress", "clear.png"], "--background"),
        (["compress", "old.tfcm"], "already compressed"),
        (["decompress", "photo.png"], "not a tfc-models file"),
        (["info", "photo.png"], "not a tfc-models file"),
        (["compress", "new\nline.png"], "new\\nline.png: No such file"),
    ],
)
def test_failures_print_one_line(loads, capsys, arguments, message):
    put("photo.png")
    put("old.tfcm.png").rename("old.tfcm")
    put("clear.png", np.zeros((4, 4, 4), np.uint8))
    pathlib.Path("empty").mkdir()
    before = tree()
    assert run(*arguments) == 1
    assert message in one_error(capsys)
    assert tree() == before


def test_unknown_model_error_names_the_option(loads, monkeypatch, capsys):
    def codec_for(data: bytes, *decoders: str | None) -> None:
        raise container.UnknownModelError("compressed with model x: load its weights file.")

    put("photo.png")
    run("compress", "photo.png", "--quiet")
    monkeypatch.setitem(vars(codec), "codec_for", codec_for)
    assert run("decompress", "photo.tfcm", "-o", "x.png") == 1
    assert one_error(capsys).endswith("load its weights file. Name that with -m.\n")


def test_decode_limits(loads, capsys):
    put("photo.png")
    run("compress", "photo.png", "--quiet")
    loads.clear()
    assert run("decompress", "photo.tfcm", "-o", "x.png", "--max-pixels", "0.599k") == 1
    assert "--max-pixels" in one_error(capsys)
    assert loads == []
    assert run("decompress", "photo.tfcm", "-o", "x.png", "--max-pixels", "600") == 0


def test_limits_replace_those_of_pillow(loads, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    put("photo.png")
    assert run("compress", "photo.png") == 0
    assert Image.MAX_IMAGE_PIXELS == 100


def test_background(loads):
    put("clear.png", np.zeros((4, 4, 4), np.uint8))
    assert run("compress", "clear.png", "--background", "#ff0000") == 0
    run("decompress", "clear.tfcm", "-o", "red.png")
    assert (pixels_of("red.png") == (255, 0, 0)).all()


def test_pipes(loads, monkeypatch):
    out = pipe(monkeypatch, put("photo.png").read_bytes())
    assert run("compress", "-") == 0
    out = pipe(monkeypatch, out.getvalue())
    assert run("decompress", "-", "--format", "bmp") == 0
    assert np.array_equal(images.read(out.getvalue()).pixels, PHOTO)
    assert tree() == {"photo.png"}


def test_standard_input_and_output_with_files(loads, monkeypatch):
    pipe(monkeypatch, put("photo.png").read_bytes())
    assert run("compress", "-", "-o", "x.tfcm") == 0
    out = pipe(monkeypatch, b"")
    assert run("decompress", "x.tfcm", "-o", "-") == 0
    assert np.array_equal(images.read(out.getvalue()).pixels, PHOTO)


def test_empty_standard_input(capsys, loads, monkeypatch):
    # capsys is the first fixture, so that it ends after monkeypatch has restored the streams.
    out = pipe(monkeypatch, b"")
    assert run("compress", "-") == 1
    assert capsys.readouterr().err == "tfc-models compress: -: standard input is empty.\n"
    assert out.getvalue() == b""


def test_binary_data_are_not_written_to_a_terminal(loads, monkeypatch, capsys):
    put("photo.png")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run("compress", "photo.png", "-o", "-") == 2
    assert "refusing to write binary data to a terminal" in one_error(capsys)


@pytest.mark.parametrize("arguments", [["-q", "7"], ["--target-bytes", "9k"], ["--target-psnr=9"]])
def test_fixed_rate_model_rejects_targets(loads, capsys, arguments):
    put("photo.png")
    assert run("compress", "photo.png", *arguments) == 1
    assert "one rate" in one_error(capsys)


def test_json(loads, capsys):
    put("photo.png")
    assert run("compress", "photo.png", "missing.png", "--json", "--quiet") == 1
    done, missing = json.loads(capsys.readouterr().out)
    size = pathlib.Path("photo.tfcm").stat().st_size
    assert 0 <= done.pop("seconds") < 60
    assert done == {
        "input": "photo.png",
        "output": "photo.tfcm",
        "model": "quick",
        "bytes": size,
        "width": 30,
        "height": 20,
        "bpp": round(8 * size / 600, 5),
    }
    assert missing == {"input": "missing.png", "error": "No such file or directory."}


def test_info(loads, capsys):
    put("photo.png")
    run("compress", "photo.png", "--quiet")
    assert run("info", "photo.tfcm", "--json") == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"], facts["model"]) == (30, 20, "quick")
    assert facts["in_zoo"] is True
    assert facts["header_bytes"] + sum(facts["stream_bytes"]) == facts["bytes"]
    assert run("info", ".") == 0
    shown = capsys.readouterr().out
    assert "30×20" in shown and "quick" in shown and "in the zoo" in shown


def test_models(loads, capsys):
    assert run("models", "--json") == 0
    (model,) = json.loads(capsys.readouterr().out)
    assert model["name"] == "quick" and model["default"] is True
    assert run("models") == 0
    assert "A quick one." in capsys.readouterr().out


def test_export(loads, capsys):
    assert run("export", "-m", "quick", "served/1", "--bfloat16", "auto") == 0
    graph = pathlib.Path("served/1/saved_model.pb")
    assert graph.read_text() == "bfloat16 auto, limits 67108864 32768, quality None"
    assert run("export", "served/1", "--quiet") == 1
    assert "--force replaces it" in capsys.readouterr().err
    limits = ("--max-pixels", "200M", "--max-side", "70000")
    assert run("export", "served/1", "--quiet", "--force", *limits) == 0
    assert graph.read_text() == "bfloat16 off, limits 200000000 70000, quality None"
    assert tree() == {"served/1/saved_model.pb"}


def test_export_replaces_only_saved_models(loads, capsys):
    put("home/photo.png")
    assert run("export", "home", "--force") == 1
    assert "does not contain a SavedModel" in one_error(capsys)
    assert tree() == {"home/photo.png"}


def test_failed_export_keeps_the_old_model(loads, monkeypatch, capsys):
    run("export", "served", "--quiet")

    def save(self, path, *settings, **search):
        pathlib.Path(path, "half").write_text("")
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(QuickCodec, "save", save)
    assert run("export", "served", "--force") == 1
    assert "No space left" in one_error(capsys)
    assert tree() == {"served/saved_model.pb"}


@pytest.mark.parametrize("unnamed", [True, False])
@pytest.mark.parametrize("force", [True, False])
def test_full_disk_leaves_no_partial_file(loads, monkeypatch, capsys, unnamed, force):
    put("photo.png")
    if force:
        pathlib.Path("photo.tfcm").write_text("old")
    if not unnamed:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    before, write = tree(), os.write

    def write_some(fd, data):
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "full")
        return write(fd, data[:100])

    monkeypatch.setattr(os, "write", write_some)
    assert run("compress", "photo.png", *["--force"] * force) == 1
    assert "cannot write" in one_error(capsys)
    assert tree() == before
    assert not force or pathlib.Path("photo.tfcm").read_text() == "old"


def test_interrupt(loads, monkeypatch, capsys):
    def interrupted(self, picture, quality):
        raise KeyboardInterrupt

    put("photo.png")
    monkeypatch.setattr(QuickCodec, "compress", interrupted)
    assert run("compress", "photo.png") == 130
    assert capsys.readouterr().err == "tfc-models: interrupted.\n"
    assert tree() == {"photo.png"}


def test_unexpected_errors_print_one_line(loads, monkeypatch, capsys):
    def broken(self, picture, quality):
        raise RuntimeError("first line\nsecond line")

    put("photo.png")
    monkeypatch.setattr(QuickCodec, "compress", broken)
    assert run("compress", "photo.png") == 1
    assert "photo.png: unexpected RuntimeError: first line" in one_error(capsys)
    with pytest.raises(RuntimeError):
        run("compress", "photo.png", "--traceback")


def test_help_lists_every_command(capsys):
    for argument in ("--help", "-h"):
        assert run(argument) == 0
        shown = capsys.readouterr().out
        assert all(f"\n  {name} " in shown for name in COMMANDS)
        assert len(shown.splitlines()) <= 25
    assert run("compress", "--help") == 0
    assert "--background" in capsys.readouterr().out
    assert run("--version") == 0
    assert capsys.readouterr().out == f"tfc-models {tfc_models.__version__}\n"


def test_progress_on_a_terminal(loads, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    put("a.png")
    put("b [red].png")
    assert run("compress", ".") == 0
    shown = capsys.readouterr().err
    assert "compressing" in shown and "2/2" in shown
    assert "b [red].png → b [red].tfcm" in shown
    assert run("compress", ".", "--force", "--quiet") == 0
    assert capsys.readouterr().err == ""
