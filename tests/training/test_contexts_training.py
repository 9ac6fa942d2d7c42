"""Coders of one codec's latents, trained side by side."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver
from PIL import Image

from tests.conftest import GOLDEN, cropped
from tfc_models import zoo
from training.experiments import contexts

GOLDEN_CODEC = str(GOLDEN / "gained-checkerboard.npz")


@pytest.fixture
def pictures(tmp_path):
    for folder, size in (("train", (290, 280)), ("validation", (190, 200))):
        (tmp_path / folder).mkdir()
        Image.fromarray(cropped(*size)).save(tmp_path / folder / "a.png")
    return tmp_path


def flags(folder, **more):
    contexts.flags.FLAGS.unparse_flags()
    contexts.flags.FLAGS(
        ["contexts", f"--data={folder}/train", f"--validation={folder}/validation"]
    )
    return flagsaver.flagsaver(output=str(folder), codec=GOLDEN_CODEC, **more)


def test_coders_learn_and_are_written_down(pictures):
    with flags(pictures, first_steps=2, steps=2, models=["gained-raster"]):
        contexts.write()
    with (pictures / "contexts.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = ["gained-stem4"] * 5 + ["gained-raster"] * 5
    assert [row["model"] for row in rows] == names
    for row in rows:
        assert 0.01 < float(row["bpp"]) < 10.0 and 15.0 < float(row["psnr"]) < 50.0
    # Two steps from the same start: both still tell about the same.
    assert {row["bd_rate"] for row in rows[:5]} == {"0.0"}
    ratio = [float(b["bpp"]) / float(a["bpp"]) for a, b in zip(rows, rows[5:])]
    assert np.all(np.abs(np.log(ratio)) < 0.2)


def test_normalizing_changes_what_is_read_and_nothing_else(pictures):
    codec, _ = zoo.find(GOLDEN_CODEC)
    side = contexts.Side("gained-stem4", codec, contexts.without_context(codec))
    model, rate = side.model, tf.constant([50.0])
    crops = tf.constant(cropped(256, 256)[None], tf.float32)
    y = model.to_latents(crops, rate)
    before = model.coder(y, rate=rate)[1]["y"]
    contexts.normalize(model, crops)
    after = model.coder(y, rate=rate)[1]["y"]
    np.testing.assert_allclose(after, before, rtol=1e-3)
    gain = model.coder.rates.mean_gain.at(contexts.level_weights(rate, model.levels))[0].numpy()
    deviation = np.std(y, axis=(0, 1, 2))
    np.testing.assert_allclose(gain, np.maximum(deviation, 0.5), rtol=1e-3)
