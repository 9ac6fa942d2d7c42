"""Command line with a variable-rate model: qualities and targets."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.cli.test_cli import one_error, put, run, tree
from tests.quick_codec import GradedCodec, quick_zoo


@pytest.fixture
def rates(monkeypatch, tmp_path):
    quick_zoo(monkeypatch, lambda name, realism=None, fast=None: GradedCodec())
    monkeypatch.chdir(tmp_path)


def compressed(capsys, *arguments: str) -> dict:
    assert run("compress", "photo.png", "--json", "--quiet", "--force", *arguments) == 0
    return json.loads(capsys.readouterr().out)[0]


def test_quality_and_targets(rates, capsys):
    put("photo.png")
    assert compressed(capsys)["quality"] == 50
    sizes = [compressed(capsys, "-q", q)["bytes"] for q in ("0", "50", "90", "100")]
    assert sizes == sorted(sizes)
    between = (sizes[1] + sizes[2]) // 2
    result = compressed(capsys, "--target-bytes", str(between))
    assert result["bytes"] <= between and 50 <= result["quality"] < 90
    assert pathlib.Path("photo.tfcm").stat().st_size == result["bytes"]
    assert compressed(capsys, "--target-bpp", str(8 * between / 600 + 1e-6)) | {"seconds": 0} == (
        result | {"seconds": 0}
    )
    aimed = compressed(capsys, "--target-psnr", "30")
    assert 80 < aimed["quality"] < 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target-bytes", "40"], "target of 40 bytes is too small"),
        (["--target-bpp", "0.01"], "too small"),
    ],
)
def test_unreachable_target_fails(rates, capsys, arguments, message):
    put("photo.png")
    assert run("compress", "photo.png", *arguments) == 1
    assert message in one_error(capsys)
    assert tree() == {"photo.png"}
