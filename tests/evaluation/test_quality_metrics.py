"""Metrics by name: built-in ones and those of other packages and programs."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys

import numpy as np
import pytest

from tests.conftest import cropped
from tests.random_networks import random_network
from tfc_models import metrics
from tfc_models.evaluation import MissingError, code, measure, quality_metric
from tfc_models.evaluation.quality_metrics import table_metric
from tfc_models.packages import Package

OWN = ("ssim", "nlpd", "pim", "pim-bands")
PROGRAMS = {"ssimulacra2": "ssimulacra2", "butteraugli": "butteraugli_main"}


def blurred(image: np.ndarray, steps: int) -> np.ndarray:
    """Returns a blurred image; more steps blur more."""
    soft = image.astype(np.float64)
    for _ in range(steps):
        soft = (soft + np.roll(soft, 1, 0) + np.roll(soft, 1, 1)) / 3.0
    return np.rint(soft).astype(np.uint8)


def program(folder: pathlib.Path, name: str, script: str) -> None:
    """Creates an executable with this name on the search path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(monkeypatch, tmp_path) -> pathlib.Path:
    """Folder of executables; the search path has only this folder and that of the shell."""
    monkeypatch.setenv("PATH", os.pathsep.join((str(tmp_path), "/usr/bin", "/bin")))
    monkeypatch.setattr(shutil, "which", lambda name: _in(tmp_path, name))
    return tmp_path


def _in(folder: pathlib.Path, name: str) -> str | None:
    return str(folder / name) if (folder / name).exists() else None


@pytest.mark.parametrize("name", OWN)
def test_quality_metrics_equal_those_of_the_metrics_package(name):
    metric, image = quality_metric(name), cropped(96, 96)
    worse = blurred(image, 2)
    expected = float(metrics.named(name).of_pair(image[None], worse[None]))
    assert metric.of_pair(image, worse) == pytest.approx(expected)
    better = metric.shown.quality(metric.of_pair(image, blurred(image, 1)))
    assert better > metric.shown.quality(expected)
    assert metric.of_pair(image[:5, :5], worse[:5, :5]) is None  # Too small.


def test_weights_are_part_of_the_identity(monkeypatch, tmp_path):
    monkeypatch.delenv("TFC_MODELS_LPIPS", raising=False)
    with pytest.raises(MissingError, match="LPIPS needs its weights: give --weights lpips=FILE"):
        quality_metric("lpips")
    paths = [random_network(net, tmp_path / f"{net}.npz") for net in ("squeeze", "alex")]
    first, second = (quality_metric("lpips", {"lpips": str(path)}) for path in paths)
    assert first.identity != second.identity
    image = cropped(40, 40)
    assert first.of_pair(image, image) == 0.0
    assert first.of_pair(image, blurred(image, 2)) > 0.0


def test_figures_list_additional_metrics_by_name():
    image = cropped(96, 96)
    coded = code(image, lambda _: bytes(10), lambda _: blurred(image, 1))
    further = [quality_metric("nlpd"), quality_metric("ssim")]
    figures = measure(image, coded, further)
    assert list(figures.further) == ["nlpd", "ssim"]
    assert figures.value("nlpd") == further[0].of_pair(image, coded.pixels)
    assert figures.record()["ssim"] == figures.value("ssim") and "further" not in figures.record()
    grey = image[..., 0]
    coded = code(grey, lambda _: bytes(10), lambda _: blurred(grey, 1))
    assert measure(grey, coded, further).value("nlpd") > 0.0


@pytest.mark.parametrize(("name", "file"), PROGRAMS.items())
def test_a_missing_program_is_named_with_its_remedy(programs, name, file):
    title = table_metric(name).short
    with pytest.raises(MissingError, match=rf"^{title} needs the program {file}: .*apt install"):
        quality_metric(name)


def test_scores_are_read_from_the_programs(programs):
    program(programs, "ssimulacra2", 'test -f "$1" -a -f "$2" && echo 71.25')
    program(programs, "butteraugli_main", 'echo 5.9; echo "3-norm: 1.25"')
    image = cropped(16, 16)
    assert quality_metric("ssimulacra2").of_pair(image, image) == 71.25
    assert quality_metric("butteraugli").of_pair(image, image) == 1.25
    assert quality_metric("ssimulacra2").of_pair(image[:7], image[:7]) is None


@pytest.mark.parametrize("script", ["echo no luck >&2; exit 3", "echo no luck"])
def test_a_program_that_fails_is_quoted(programs, script):
    program(programs, "ssimulacra2", script)
    image = cropped(16, 16)
    with pytest.raises(ValueError, match=r"SSIMULACRA 2: ssimulacra2 failed \(no luck\)"):
        quality_metric("ssimulacra2").of_pair(image, image)


@pytest.mark.parametrize(("name", "best"), [("ssimulacra2", 100.0), ("butteraugli", 0.0)])
def test_the_real_programs_rank_images(name, best):
    if shutil.which(PROGRAMS[name]) is None:
        pytest.skip(f"{PROGRAMS[name]} is not installed.")
    ranks_images(name, best)


def test_the_real_cvvdp_ranks_images():
    pytest.importorskip("pycvvdp")
    ranks_images("cvvdp", 10.0)


def ranks_images(name: str, best: float) -> None:
    metric, image = quality_metric(name), cropped(120, 130)
    values = [metric.of_pair(image, blurred(image, steps)) for steps in (0, 1, 3)]
    qualities = [metric.shown.quality(value) for value in values]
    assert values[0] == pytest.approx(best)
    assert qualities == sorted(qualities, reverse=True) and len(set(qualities)) == 3


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    with pytest.raises(MissingError, match=r"^CVVDP needs the package cvvdp: pip install cvvdp$"):
        quality_metric("cvvdp")


def test_a_package_that_cannot_be_imported_says_why(monkeypatch, tmp_path):
    (tmp_path / "broken_one.py").write_text("raise OSError('no libfoo.so\\nmore')")
    (tmp_path / "without_part.py").write_text("import no_such_part")
    monkeypatch.syspath_prepend(tmp_path)
    for module, reason in (("broken_one", "no libfoo.so"), ("without_part", "no_such_part")):
        with pytest.raises(MissingError, match=rf"cannot be imported \(.*{reason}.*\): pip"):
            Package(module, "one").load("X")
