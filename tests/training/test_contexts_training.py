"""Entropy coders of one codec's latents, trained on the same batches."""

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
def images(tmp_path):
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


@pytest.mark.exhaustive
def test_the_experiment_writes_its_results(images):
    with flags(images, first_steps=2, steps=2, models=["gained-raster"]):
        contexts.write()
    with (images / "contexts.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = ["gained-stem4"] * 5 + ["gained-raster"] * 5
    assert [row["model"] for row in rows] == names
    for row in rows:
        assert 0.01 < float(row["bpp"]) < 10.0 and 15.0 < float(row["psnr"]) < 50.0
    # After two steps from equal weights, the rates are similar.
    assert {row["bd_rate"] for row in rows[:5]} == {"0.0"}
    ratio = [float(b["bpp"]) / float(a["bpp"]) for a, b in zip(rows, rows[5:])]
    assert np.all(np.abs(np.log(ratio)) < 0.2)


def test_normalizing_changes_only_the_scale_of_the_context_s_inputs(images):
    codec, _ = zoo.find(GOLDEN_CODEC)
    state = contexts.without_context(codec)
    trainer = contexts.CoderTrainer("gained-stem4", codec, state, steps=1)
    model, rate = trainer.model, tf.constant([50.0])
    crops = tf.constant(cropped(256, 256)[None], tf.float32)
    y = model.to_latents(crops, rate)
    before = model.coder(y, rate=rate)[1]["y"]
    contexts.normalize(model, crops)
    after = model.coder(y, rate=rate)[1]["y"]
    np.testing.assert_allclose(after, before, rtol=1e-3)
    gain = model.coder.rates.mean_gain.at(contexts.level_weights(rate, model.levels))[0].numpy()
    deviation = np.std(y, axis=(0, 1, 2))
    np.testing.assert_allclose(gain, np.maximum(deviation, 0.5), rtol=1e-3)
