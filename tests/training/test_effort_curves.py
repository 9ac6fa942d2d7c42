"""Curves and BD-rates from the table of an evaluation."""

from __future__ import annotations

import sys

from tests.conftest import completed

HEAD = "picture,width,height,codec,setting,bpp,psnr,library,options\n"


def rows(codec: str, scale: float, library: str) -> str:
    """Returns the rows of an image and of the means of a codec."""
    return "".join(
        f'{image},,,"{codec}",quality {quality},{scale * bpp},{psnr},{library},\n'
        for image in ("a.png", "mean")
        for quality, bpp, psnr in ((0, 0.1, 28.0), (50, 0.4, 33.0), (100, 1.2, 39.0))
    )


def test_means_are_listed_by_effort_and_compared_with_each_other(tmp_path):
    results, output = tmp_path / "results.csv", tmp_path / "curves.csv"
    other = tmp_path / "other.csv"
    library = "tfc-models 1.0"
    standard = rows("avif", 2.0, "Pillow")
    results.write_text(HEAD + rows("model", 1.0, library) + standard, encoding="utf-8")
    other.write_text(HEAD + rows("model, effort 3", 0.9, library) + standard, encoding="utf-8")
    program = "training.experiments.effort_curves"
    flags = [f"--results={results}", f"--results={other}", f"--output={output}"]
    command = [sys.executable, "-m", program, *flags]
    said = completed(command, 0).stdout
    lines = output.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "codec,effort,setting,bpp,psnr"
    assert lines[1] == "model,0,quality 0,0.1,28.0"
    assert lines[4].startswith("avif,,quality 0,") and lines[7].startswith("model,3,quality 0,")
    assert len(lines) == 10
    assert "| model, effort 3 | -10.0 % | -55.0 % | – |" in said
    results.write_text(HEAD, encoding="utf-8")
    said = completed(command, 1).stderr
    assert "has no means" in said and "Traceback" not in said
