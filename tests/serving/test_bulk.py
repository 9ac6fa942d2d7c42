"""Beam pipeline: results, failures with reasons, and resumed runs."""

from __future__ import annotations

import csv
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.conftest import GOLDEN, ROOT, completed, cropped, golden_codec
from tests.quick_codec import QuickCodec
from tfc_models.allocation import CodecSettings, Measurer, MeasuringSettings
from tfc_models.codec import inspect
from tfc_models.serving import bulk_work

MODEL = "gained-stem4"
IMAGES = 8  # Enough that a killed run has processed some of them only.


def command(*arguments: object) -> list[str]:
    model = [] if arguments[0] == "measure" else [f"--model={GOLDEN / MODEL}.npz"]
    return [sys.executable, "-m", "serving.bulk", *map(str, arguments), *model]


def bulk(*arguments: object, code: int = 0) -> str:
    done = completed(command(*arguments), code)
    return done.stdout if code != 2 else done.stderr


def table(path: pathlib.Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    path = tmp_path / "in"
    (path / "sub").mkdir(parents=True)
    for name, size in (("a.png", 40), ("c.jpg", 50), ("sub/b[1] ü.png", 180)):
        Image.fromarray(cropped(size, size + 20)).save(path / name)
    (path / "broken.png").write_bytes(b"no picture")
    (path / "note.txt").write_text("not meant")
    return path


def test_unusual_file_names(tmp_path):
    """A name that is not UTF-8 fails alone. Spaces and control characters are valid."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    names = ["10.00\u202fAM.png", "a\u00adb.png", "other.png"]
    for name in names:
        Image.fromarray(cropped(40, 40)).save(folder / name)
    os.rename(folder / names[2], os.fsencode(folder) + b"/\xff.png")
    said = bulk("compress", f"--input={folder}", f"--output={out}", code=1)
    assert "2 files done, 0 done before, 1 failed" in said
    assert sorted(p.name for p in out.glob("*.tfcm")) == ["10.00\u202fAM.tfcm", "a\u00adb.tfcm"]
    (failed,) = table(out / "failed.csv")
    expected = {"file": f"{folder}/\\udcff.png", "reason": "its name is not UTF-8: rename it."}
    assert failed == expected


@pytest.mark.slow
def test_compress_decompress_and_rerun(folder, tmp_path):
    out, back = tmp_path / "out", tmp_path / "back"
    arguments = ("compress", f"--input={folder}", f"--output={out}", "--quality=30")
    assert "3 files done, 0 done before, 1 failed" in bulk(*arguments, code=1)
    names = ["a.tfcm", "c.tfcm", "sub/b[1] ü.tfcm"]  # Named as by `tfc-models compress`.
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.tfcm")) == names
    assert not list(out.rglob("*.part"))
    codec = golden_codec(MODEL)
    header = inspect((out / "a.tfcm").read_bytes())
    assert (header.height, header.width, header.rate) == (40, 60, 30)
    (failed,) = table(out / "failed.csv")
    assert failed["file"] == str(folder / "broken.png") and "not an image" in failed["reason"]
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.tfcm")}

    # A second run processes new, changed, missing and failed files.
    Image.fromarray(cropped(30, 30)).save(folder / "broken.png")
    (out / "c.tfcm").write_bytes(b"cut")
    assert "2 files done, 2 done before, 0 failed" in bulk(*arguments)
    after = {p: p.stat().st_mtime_ns for p in out.rglob("*.tfcm")}
    changed = {p.name for p in after if after[p] != before.get(p)}
    assert changed == {"c.tfcm", "broken.tfcm"}
    rows = table(out / "results.csv")
    assert len(rows) == 4 and table(out / "failed.csv") == []
    assert int(rows[0]["bytes_out"]) == (out / "a.tfcm").stat().st_size

    bulk("decompress", f"--input={out}", f"--output={back}")
    assert sorted(p.name for p in back.rglob("*.png")) == [
        "a.png",
        "b[1] ü.png",
        "broken.png",
        "c.png",
    ]
    decoded = np.asarray(Image.open(back / "sub" / "b[1] ü.png"))
    expected = codec.decompress((out / "sub" / "b[1] ü.tfcm").read_bytes())
    # The command uses bfloat16 where that is fast; this process does not.
    assert np.abs(decoded.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("background", [None, (255, 255, 255)])
def test_failures_name_a_remedy(folder, tmp_path, monkeypatch, background):
    monkeypatch.setattr(bulk_work.Job, "load", lambda job: QuickCodec())
    Image.new("LA", (9, 7)).save(folder / "clear.png")
    Image.fromarray(cropped(8, 8)).save(folder / "a.webp")
    (folder / "b.heic").write_bytes(b"whatever")
    paths = bulk_work.find_files(str(folder), "compress")
    out = str(tmp_path / "out")
    job = bulk_work.Job("compress", str(folder), out, MODEL, None, 10**4, None, background)
    job = job.with_output_conflicts(paths)
    failures = {}
    for path in paths:
        try:
            job.do(path)
        except bulk_work.FILE_ERRORS as error:
            failures[pathlib.Path(path).name] = bulk_work.one_line(error)
    target = f"{tmp_path}/out/a.tfcm"
    assert failures.pop("a.png") == f"{folder}/a.webp would be written to {target} as well."
    assert failures.pop("a.webp") == f"{folder}/a.png would be written to {target} as well."
    assert "its format cannot be read: convert it" in failures.pop("b.heic")
    assert failures.pop("b[1] ü.png").endswith(
        "the limit of 10,000. Increase the limit with --max_pixels."
    )
    assert "not an image" in failures.pop("broken.png")
    if background is None:
        assert failures.pop("clear.png").endswith("--background white.")
    else:
        assert inspect((tmp_path / "out" / "clear.tfcm").read_bytes()).is_grey
    assert not failures and (tmp_path / "out" / "c.tfcm").is_file()


class Codec:
    """Codec whose decoded grey level is proportional to the realism, and 50 with `fast`."""

    digest = "0"

    def rate_setting(self, quality: None) -> int:
        return 0

    def realism_decoder(self) -> None:
        pass

    def fast_decoder(self) -> None:
        pass

    def decompress(self, data: bytes, max_pixels: int, realism: float, decoder: str) -> np.ndarray:
        level = 50 if decoder == "fast" else round(200 * realism)
        return np.full([4, 6, 3], level, np.uint8)


def test_realism_applies_to_decompress_only(tmp_path, monkeypatch):
    monkeypatch.setattr(bulk_work.Job, "load", lambda job: Codec())
    file = tmp_path / "a.tfcm"
    file.write_bytes(b"a file")

    def job(realism: float | None, command: str = "decompress") -> bulk_work.Job:
        output = str(tmp_path / "out")
        return bulk_work.Job(command, str(tmp_path), output, MODEL, None, 10**6, realism)

    for realism, light in ((None, 0), (0.5, 100), (1.0, 200)):
        assert job(realism).finished(str(file)) is None
        job(realism).check()
        job(realism).do(str(file))
        assert job(realism).finished(str(file))
        assert np.all(np.asarray(Image.open(tmp_path / "out" / "a.png")) == light)
    for realism in (float("nan"), 1.5):
        with pytest.raises(ValueError, match="realism is a number from 0 to 1; got"):
            job(realism).check()
    for command in ("compress", "evaluate"):
        with pytest.raises(ValueError, match="--realism is for decompress: it does not change"):
            job(0.5, command).check()


def test_fast_decoder_applies_to_decompress_only(tmp_path, monkeypatch):
    monkeypatch.setattr(bulk_work.Job, "load", lambda job: Codec())
    file = tmp_path / "a.tfcm"
    file.write_bytes(b"a file")

    def job(decoder: str, command: str = "decompress", **changes: float) -> bulk_work.Job:
        output = str(tmp_path / "out")
        settings = {"decoder": decoder, **changes}
        return bulk_work.Job(command, str(tmp_path), output, MODEL, None, 10**6, **settings)

    for decoder, light in (("full", 0), ("fast", 50)):
        assert job(decoder).finished(str(file)) is None
        job(decoder).check()
        job(decoder).do(str(file))
        assert job(decoder).finished(str(file))
        assert np.all(np.asarray(Image.open(tmp_path / "out" / "a.png")) == light)
    for wrong, words in (
        (job("fast", "compress"), "--decoder is for decompress"),
        (job("fast", realism=0.5), "realism needs the decoder full"),
        (job("half"), "the decoder is full or fast; got 'half'"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong.check()


@pytest.mark.slow
def test_killed_run_resumes(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for i in range(IMAGES):
        Image.fromarray(cropped(180 + i, 180)).save(folder / f"{i:02}.png", compress_level=1)
    arguments = ("evaluate", f"--input={folder}/*.png", f"--output={out}")
    parallel = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    first = subprocess.Popen(
        command(*arguments, *parallel),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 120
    records = out / "_records" / "evaluate"
    while len(list(records.glob("*.json"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    first.kill()
    first.wait(60)
    time.sleep(1)  # Files in progress are finished or not.
    done = {p.name: p.stat().st_mtime_ns for p in records.glob("*.json")}
    assert len(done) >= 2
    said = bulk(*arguments)
    assert f"{IMAGES - len(done)} files done, {len(done)} done before, 0 failed" in said
    rows = table(out / "results.csv")
    assert len(rows) == IMAGES and all(float(r["psnr"]) > 20 and r["ms_ssim"] for r in rows)
    assert {n: (records / n).stat().st_mtime_ns for n in done} == done


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pack", "--input=x", "--output=y"], "must be one of compress, decompress, evaluate"),
        (["compress", "--input=/nowhere/*.png", "--output=y"], "no files found"),
        (["compress", "--input=IN", "--output=y", "--background=whitish"], "is not a colour"),
        (["decompress", "--input=IN/*", "--output=y", "--background=red"], "for compress and"),
        (["compress", "--input=IN", "--output=y", "--no_such=1"], "--no_such=1: unknown flag"),
        (
            ["decompress", "--input=IN/*", "--output=y", "--quality=3"],
            "--quality is for compress and evaluate",
        ),
        (["decompress", "--input=IN/*", "--output=y", "--realism=1"], "has no realism decoder"),
    ],
)
def test_usage_errors_print_one_line(folder, arguments, says):
    said = bulk(*(a.replace("IN", str(folder)) for a in arguments), code=2)
    assert says in said.splitlines()[-1] and "Traceback" not in said


@pytest.mark.slow
def test_measurements_for_an_allocation(folder, tmp_path):
    out = tmp_path / "measured"
    arguments = ("measure", f"--input={folder}", f"--output={out}", "--codecs=jpeg", "--points=3")
    assert "3 files done, 0 done before, 1 failed" in bulk(*arguments, code=1)
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.jsonl")) == [
        "a.png.jsonl",
        "c.jpg.jsonl",
        "sub/b[1] ü.png.jsonl",
    ]
    codecs = CodecSettings(("jpeg",), points=3)
    with Measurer(MeasuringSettings(codecs, others=(out,))) as measurer:
        measured = measurer.measure(folder / "a.png")
    assert measured.reused == 3
    with Measurer(MeasuringSettings(codecs)) as measurer:
        assert measurer.measure(folder / "a.png").measurements == measured.measurements
    # Other qualities are measured anew.
    assert "3 files done, 0 done before" in bulk(*arguments[:-1], "--points=4", code=1)


def test_options_of_measure_only(folder, tmp_path):
    shared = f"--input={folder}", f"--output={tmp_path / 'out'}"
    assert "are for measure" in bulk("compress", *shared, "--codecs=jpeg", code=2)
    assert "--qualities is" in bulk("measure", *shared, "--quality=5", "--codecs=jpeg", code=2)
    assert "--model is not for measure" in bulk("measure", *shared, "--model=hific", code=2)
    assert "there is no metric 'x'" in bulk("measure", *shared, "--metrics=x", code=2)
