"""Training that removes channels of a decoder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import GOLDEN, cropped
from tfc_models.decoders import decoder_file, widths_of
from tfc_models.decoders.gates import GatedDecoder
from tfc_models.training.decoder import new_decoder
from tfc_models.training.fixed_model import base_of
from tfc_models.training.narrowing import NarrowingTrainer
from tfc_models.training.narrowing_config import NarrowingTraining

NAME = "gained-checkerboard"
SETTINGS = {"model": NAME, "steps": 10, "base": str(GOLDEN / f"{NAME}.npz"), "crop": 64}


def build_trainer(**options) -> NarrowingTrainer:
    config = NarrowingTraining(**{**SETTINGS, "bfloat16": "off", "multiple": 2, **options})
    tf.keras.utils.set_random_seed(config.seed)
    base, digest = base_of(config)
    trainer = NarrowingTrainer(GatedDecoder(new_decoder(base, digest)), digest, config)
    trainer.start("")
    return trainer


@pytest.fixture(scope="module")
def batch() -> tf.Tensor:
    pixels = cropped(64, 128)
    return tf.constant(np.stack([pixels[:, :64], pixels[:, 64:]]))


def test_channels_are_removed_until_the_target(batch, tmp_path):
    trainer = build_trainer(target=0.5, penalty=5.0)
    costs, penalties = [], []
    for step in range(8):
        trainer.before_step(step / 8)
        losses = trainer.train(batch, {"model": 1e-4, "gates": 2e-2})
        costs.append(trainer.cost)
        penalties.append(float(losses["penalty"]))
        assert float(losses["loss"]) > penalties[-1] > 0.0
    assert costs[0] == 1.0 and costs[-1] <= 0.5 and costs == sorted(costs, reverse=True)
    assert penalties == sorted(penalties, reverse=True)
    trainer.save_weights(tmp_path / "weights.npz")
    weights = decoder_file.read(tmp_path / "weights.npz")
    assert weights.config["widths"] == trainer.model.kept_widths
    full = widths_of(trainer.model.base.synthesis)
    assert all(0 <= width <= full[name] for name, width in weights.config["widths"].items())


def test_a_resumed_run_keeps_gates_and_removed_channels(batch, tmp_path):
    trainer, resumed = build_trainer(), build_trainer()
    trainer.train(batch, {"model": 1e-4, "gates": 2e-2})
    trainer.before_step(0.6)
    path = trainer.checkpoint.save(str(tmp_path / "checkpoint"))
    resumed.checkpoint.restore(path).assert_consumed()
    assert resumed.model.kept_widths == trainer.model.kept_widths
    assert resumed.cost == trainer.cost < 1.0
    for name, gate in trainer.model.synthesis.gates.items():
        np.testing.assert_array_equal(resumed.model.synthesis.gates[name], gate)


def test_channels_cost_measured_time(tmp_path):
    path = tmp_path / "seconds.json"
    layers = [layer.name for layer in build_trainer().model.base.synthesis.layers]
    seconds = dict.fromkeys(layers, 1e-09) | {"conv0": 1.0}
    path.write_text(json.dumps(seconds))
    trainer = build_trainer(layer_seconds=str(path), target=0.5)
    trainer.before_step(1.0)
    widths, full = trainer.model.kept_widths, trainer.model.widths
    # Only the channels that the last layer reads cost time.
    assert widths["conv1"] <= full["conv1"] // 2 + 1
    assert trainer.cost <= 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": 1.0}, "target must be a fraction between 0 and 1"),
        ({"penalty": 0.0}, "penalty must be above 0"),
        ({"gate_rate": 0.0}, "rate must be above 0"),
        ({"multiple": 0}, "multiple must be 1 or more"),
    ],
)
def test_wrong_settings_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        NarrowingTraining(**{**SETTINGS, **options})
