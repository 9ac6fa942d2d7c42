"""Metric records, which register metrics for commands, evaluation and training."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.cli.test_cli import put, run
from tests.conftest import cropped
from tfc_models import evaluation, metrics
from tfc_models.analysis import METRICS as DRAWN
from tfc_models.codec.tunable import tunable_names
from tfc_models.evaluation.quality_metrics import table_metric
from tfc_models.metrics import registry
from tfc_models.models.distortion import distortions
from tfc_models.perceptual import PIM_MIN_SIDE
from tfc_models.perceptual.pim import WEIGHTS as PIM_WEIGHTS
from tfc_models.perceptual.pim_bands import WEIGHTS as PIM_BANDS_WEIGHTS


def mean_absolute_error(a, b):
    """Mean absolute error of NHWC batches."""
    return tf.reduce_mean(tf.abs(tf.cast(a, tf.float32) - tf.cast(b, tf.float32)), axis=(1, 2, 3))


TOY = metrics.Metric(
    name="mean-absolute",
    title="MAE",
    axis_title="MAE (RGB)",
    min_side=2,
    higher_is_better=False,
    digits=1,
    in_decibels=False,
    position=100,
    function=mean_absolute_error,
    squared_error_per_unit=12.0,
)


@pytest.fixture
def toy(monkeypatch) -> metrics.Metric:
    monkeypatch.setattr(registry, "METRICS", metrics.METRICS)
    monkeypatch.setitem(metrics.METRICS, TOY.name, TOY)
    monkeypatch.delitem(metrics.METRICS, TOY.name)
    metrics.register(TOY)
    return TOY


def test_a_registered_metric_is_in_the_commands_lists(toy, capsys):
    for command in ("metrics", "judge", "recover", "evaluate", "compare", "compress"):
        assert run(command, "--help") == 0
        assert "mean-absolute" in capsys.readouterr().out.replace("-\n", "-").replace("  ", "")
    assert "mean-absolute" in tunable_names()


def test_a_registered_metric_is_measured(toy, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    image = cropped(20, 30).astype(np.int64) // 2
    put("a.png", image.astype(np.uint8))
    put("b.png", (image + 3).astype(np.uint8))
    assert run("metrics", "a.png", "b.png", "--metric", toy.name) == 0
    table = capsys.readouterr().out
    assert "MAE" in table and "3.0" in table
    assert run("metrics", "a.png", "b.png", "--metric", toy.name, "--json") == 0
    assert json.loads(capsys.readouterr().out)["mean"] == {toy.name: 3.0}


def test_a_registered_metric_is_evaluated_and_trained_for(toy):
    image = cropped(20, 30)
    worse = np.where(image > 100, image - 2, image + 2)
    coded = evaluation.code(image, lambda _: bytes(10), lambda _: worse)
    figures = evaluation.measure(image, coded, [evaluation.quality_metric(toy.name)])
    assert figures.value("mean_absolute") == 2.0
    assert table_metric(toy.name).short == "MAE" and not table_metric(toy.name).higher_is_better
    total, _ = distortions({toy.name: 3.0}, image[None], worse[None])
    np.testing.assert_array_equal(total, [6.0])


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="there is a metric 'psnr' already"):
        metrics.register(metrics.METRICS["psnr"])


def test_records_agree_with_what_they_describe():
    assert (table_metric("psnr"), table_metric("ms-ssim")) == DRAWN
    for name, path in (("pim", PIM_WEIGHTS), ("pim-bands", PIM_BANDS_WEIGHTS)):
        record = metrics.METRICS[name]
        assert record.min_side == PIM_MIN_SIDE and record.weights.shipped == path


def test_records_are_read_without_tensorflow_and_scipy():
    code = (
        "import sys; from tfc_models import metrics; assert metrics.METRICS; "
        "assert not {'tensorflow', 'scipy'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
