"""The command line with a model of many rates: qualities, and targets found by search."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.cli.test_cli import one_error, put, run, tree
from tests.quick_codec import GradedCodec, quick_zoo


@pytest.fixture
def rates(monkeypatch, tmp_path):
    quick_zoo(monkeypatch, lambda name, realism=None: GradedCodec())
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
    told = compressed(capsys, "--target-bytes", str(between))
    assert told["bytes"] <= between and 50 <= told["quality"] < 90
    assert pathlib.Path("photo.tfcm").stat().st_size == told["bytes"]
    assert compressed(capsys, "--target-bpp", str(8 * between / 600 + 1e-6)) | {"seconds": 0} == (
        told | {"seconds": 0}
    )
    aimed = compressed(capsys, "--target-psnr", "30")
    assert 80 < aimed["quality"] < 100


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--target-bytes", "40"], "bytes: 40 are too few"),
        (["--target-bpp", "0.01"], "too few"),
    ],
)
def test_a_target_out_of_reach_is_an_error(rates, capsys, arguments, says):
    put("photo.png")
    assert run("compress", "photo.png", *arguments) == 1
    assert says in one_error(capsys)
    assert tree() == {"photo.png"}
