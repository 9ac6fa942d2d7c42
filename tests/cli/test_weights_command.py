"""`tfc-models weights` compresses and decompresses Keras models."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from tfc_models import weights
from tfc_models.cli.main import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layers = [tf.keras.layers.Dense(30, input_shape=(20,), name="a"), tf.keras.layers.Dense(3)]
    tf.keras.Sequential(layers, name="small").save("model.keras")
    return tmp_path


def test_a_model_comes_back_from_its_file(folder, capsys):
    assert main(["weights", "compress", "model.keras", "--step", "0.1"]) == 0
    assert "times as small as float32" in capsys.readouterr().err
    size = (folder / "model.tfcw").stat().st_size
    assert size < (20 * 30 + 30 + 93) * 4 / 3
    assert main(["weights", "info", "model.tfcw", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bytes"] == size
    assert facts["tensors"][0]["name"] == "a/kernel"
    assert main(["weights", "info", "model.tfcw"]) == 0
    assert "723 weights" in capsys.readouterr().out
    words = "weights decompress model.tfcw --model model.keras -o small.keras --quiet"
    assert main(words.split()) == 0
    assert capsys.readouterr().err == ""
    restored, model = (tf.keras.models.load_model(name) for name in ("small.keras", "model.keras"))
    inputs = np.ones([1, 20], np.float32)
    np.testing.assert_allclose(restored(inputs), model(inputs), atol=0.5)
    assert main(["weights", "decompress", "model.tfcw"]) == 0
    with np.load("model.npz") as arrays:
        np.testing.assert_array_equal(arrays["a/kernel"], restored.layers[0].kernel)


def test_a_trained_model_has_its_own_steps(folder, capsys):
    model = tf.keras.models.load_model("model.keras")
    weights.compressible(model, prior="power-law").save("trained.keras")
    assert main(["weights", "compress", "trained.keras", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["float32_bytes"] == 4 * 723
    assert (folder / "trained.tfcw").read_bytes()[5] == 1


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        ("compress none.keras --step 1", "there is no file none.keras", 2),
        ("compress model.keras", "give --step", 1),
        ("compress model.keras --step -1", "--step", 2),
        ("compress text.keras --step 1", "text.keras is not a Keras model", 1),
        ("compress model.keras --step 1 -o text.keras", "text.keras exists; --force", 1),
        ("compress model.keras --step 1 --model model.keras", "with decompress only", 2),
        ("decompress text.keras", "text.keras: not a file of compressed weights", 1),
        ("decompress text.keras -o x.keras", "give --model", 2),
        ("decompress text.keras -o x.txt", "writes .keras, .h5 or .npz", 2),
        ("info text.keras", "not a file of compressed weights", 1),
        ("info text.keras --step 1", "--step has an effect with compress only", 2),
    ],
)
def test_errors_are_one_line(folder, capsys, words, message, code):
    (folder / "text.keras").write_text("no model")
    assert main(["weights", *words.split()]) == code
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not (folder / "model.tfcw").exists()
