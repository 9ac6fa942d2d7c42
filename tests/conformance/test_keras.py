"""Every registered model works with Keras' own fit, save, load and clone."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import GOLDEN, SMALL, cropped, golden_model, without_graphs
from tfc_models import models
from tfc_models.codec import Codec
from tfc_models.entropy import Gains
from tfc_models.layers import Chain, CompressionLayer, Conv2D, Residual

ROOT = pathlib.Path(__file__).parents[2]


def changed(name: str):
    """Returns a small model all of whose values differ from their initial ones."""
    model = models.build(name, **SMALL[name])
    for i, variable in enumerate(model.trainable_variables):
        variable.assign_add(0.01 * tf.random.stateless_normal(variable.shape, [i, 0]))
    return model


def saved_and_loaded(model, path):
    """Yields the model restored from each format."""
    model.save(path / "model.keras")
    yield tf.keras.models.load_model(path / "model.keras")
    model.save_weights(path / "model.weights.h5")
    model.save_weights(path / "tensorflow")
    checkpoint = tf.train.Checkpoint(model=model).save(str(path / "checkpoint"))
    for file in ("model.weights.h5", "tensorflow"):
        fresh = models.build(model.name, **model.config)
        fresh.load_weights(path / file)
        yield fresh
    fresh = models.build(model.name, **model.config)
    tf.train.Checkpoint(model=fresh).restore(checkpoint).assert_consumed()
    yield fresh
    clone = tf.keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    yield clone


def assert_same(restored, expected):
    state = expected.state()
    values = restored.state()
    assert sorted(values) == sorted(state)
    for name, value in state.items():
        np.testing.assert_array_equal(values[name], value, err_msg=name)


@pytest.mark.sampled("bls2017", "gained-checkerboard", "ms2020")
def test_every_format_restores_a_model_in_training(model_name, tmp_path):
    model = changed(model_name)
    for restored in saved_and_loaded(model, tmp_path):
        assert not restored.frozen
        assert_same(restored, model)


@pytest.mark.sampled("gained-checkerboard", "mbt2018-universal")
def test_every_format_restores_a_frozen_model(model_name, tmp_path):
    model = golden_model(model_name)
    for restored in saved_and_loaded(model, tmp_path):
        assert restored.frozen and restored.digest() == model.digest()
        assert_same(restored, model)
    # The fingerprint in the file covers the latents.
    golden = GOLDEN / f"{model_name}.tfcm"
    with without_graphs():
        data = golden.read_bytes() if golden.exists() else Codec(model).compress(cropped(40, 50))
        assert Codec(restored).decompress(data).ndim == 3


def test_a_frozen_model_is_not_saved_in_the_legacy_format(tmp_path):
    with pytest.raises(ValueError, match=r"\.weights\.h5"):
        golden_model("bls2017").save_weights(tmp_path / "weights.h5")


def test_a_frozen_model_is_not_saved_as_a_keras_savedmodel(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.keras; Codec\(model\)\.save"):
        golden_model("bls2017").save(tmp_path / "saved")


def test_checkpoints_of_other_weights_do_not_change_a_frozen_model(tmp_path):
    model = golden_model("bls2017")
    own = tf.train.Checkpoint(model=model).save(str(tmp_path / "own"))
    fresh = models.build("bls2017", **model.config)
    unfrozen = tf.train.Checkpoint(model=fresh).save(str(tmp_path / "unfrozen"))
    fresh.freeze()
    other = tf.train.Checkpoint(model=fresh).save(str(tmp_path / "other"))
    image = cropped(64, 64)[None].astype(np.float32)
    before = model(image).reconstruction
    for path in (unfrozen, other):
        with pytest.raises(RuntimeError, match="does not take other weights"):
            tf.train.Checkpoint(model=model).restore(path)
        np.testing.assert_array_equal(model(image).reconstruction, before)
    tf.train.Checkpoint(model=model).restore(own)
    np.testing.assert_array_equal(model(image).reconstruction, before)


def test_weights_of_other_widths_are_refused_in_one_line(tmp_path):
    model = golden_model("bls2017")
    model.save_weights(tmp_path / "model.weights.h5")
    other = models.build("bls2017", **SMALL["bls2017"])
    with pytest.raises(ValueError, match=r"another bls2017: \S+ has the shape \(.*, here \("):
        other.load_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ValueError, match=r"not those of bls2017: they have no analysis/"):
        other.assign_state({})


ONE_STEP = """
import numpy as np
import tensorflow as tf
devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
from tfc_models import models
images = np.random.default_rng(0).uniform(0.0, 255.0, [4, 64, 64, 3]).astype(np.float32)
for replicas in (1, 2):
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"][:replicas]).scope():
        tf.keras.utils.set_random_seed(1)
        model = models.build("bls2017", channels=4, latents=6, quantization="round")
        model.compile(tf.keras.optimizers.SGD(1e-3))
    before = model.get_weights()
    model.fit(images, batch_size=4, verbose=0, shuffle=False)
    print(sum(float(np.abs(a - b).sum()) for a, b in zip(model.get_weights(), before)))
"""


def test_a_step_on_two_replicas_equals_a_step_on_one():
    """A separate process, because virtual devices are configured before TensorFlow starts."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ONE_STEP],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = map(float, done.stdout.split())
    assert two == pytest.approx(one, rel=0.02) and one > 0


def test_every_variable_has_a_learning_rate_group(model_name):
    model = models.build(model_name, **SMALL[model_name])
    groups = dict(zip((v.name for v in model.trainable_variables), model.variable_groups()))
    names = set(groups.values())
    assert {"transforms", "densities"} <= names
    assert ("entropy" in names) == (len(model.coder.streams) > 1)
    gained = isinstance(getattr(model.coder, "rates", None), Gains)
    assert ({"blocks", "gains"} <= names) == gained


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Five images; the last one has a much higher loss."""
    flat = np.full([4, 64, 64, 3], 127.5, np.float32)
    return np.concatenate([flat, cropped(64, 64)[None].astype(np.float32)])


def compiled():
    name = "bmshj2018-hyperprior"
    model = models.build(name, **SMALL[name], quantization="round")
    model.compile(tf.keras.optimizers.SGD(0.0), run_eagerly=True)
    return model


def test_fit_and_evaluate_report_the_mean_of_all_examples(images):
    model = compiled()
    expected = float(np.mean(model.example_losses(images, training=False)["loss"]))
    result = model.evaluate(images, batch_size=2, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx(expected, rel=1e-5)
    assert set(result) == {"loss", "bpp", "mse"}
    history = model.fit(
        images, validation_data=(images,), batch_size=2, epochs=2, verbose=0, shuffle=False
    ).history
    assert history["val_loss"] == pytest.approx([expected] * 2, rel=1e-5)
    # Training does not round the indexes of scales.
    assert history["loss"] == pytest.approx([expected] * 2, rel=0.05)


def test_data_may_include_targets_and_weights(images):
    model = compiled()
    plain = model.evaluate(images, batch_size=2, verbose=0, return_dict=True)
    labels, weights = np.arange(5), np.array([0.0, 1.0, 0.0, 0.0, 3.0], np.float32)
    losses = model.example_losses(images, training=False)["loss"].numpy()
    for batch in ((images,), (images, labels)):
        data = tf.data.Dataset.from_tensor_slices(batch).batch(2)
        assert model.evaluate(data, verbose=0, return_dict=True) == pytest.approx(plain)
    data = tf.data.Dataset.from_tensor_slices((images, labels, weights)).batch(2)
    weighted = model.evaluate(data, verbose=0, return_dict=True)
    assert weighted["loss"] == pytest.approx(float(losses @ weights / weights.sum()), rel=1e-5)
    for labelled in ((images,), (images, labels), (images, labels, weights)):
        one = tf.data.Dataset.from_tensor_slices(labelled).batch(5)
        assert np.isfinite(model.fit(one, verbose=0).history["loss"]).all()


def test_examples_of_weight_zero_have_no_gradient(images):
    model = models.build("bls2017", **SMALL["bls2017"], quantization="round")
    model.compile(tf.keras.optimizers.SGD(1e-3), run_eagerly=True)
    before = model.get_weights()
    model.fit(images, np.zeros(5), sample_weight=np.zeros(5), batch_size=5, verbose=0)
    for value, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(value, old)


def test_callbacks_stop_early_and_keep_the_best_model(images, tmp_path):
    model = models.build("bls2017", **SMALL["bls2017"], quantization="round")
    model.compile(tf.keras.optimizers.Adam(1e-3), run_eagerly=True)
    best = str(tmp_path / "best.keras")
    callbacks = [
        tf.keras.callbacks.ModelCheckpoint(best, monitor="val_loss", save_best_only=True),
        tf.keras.callbacks.EarlyStopping(monitor="val_loss", patience=1, min_delta=1e3),
    ]
    history = model.fit(
        images, validation_data=(images,), epochs=6, verbose=0, callbacks=callbacks
    ).history
    # No epoch improves by min_delta, so training stops after two.
    assert len(history["val_loss"]) == 2
    loaded = tf.keras.models.load_model(best)
    result = loaded.evaluate(images, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx(min(history["val_loss"]), rel=1e-4)


class Scaled(CompressionLayer):
    """Layer without implementations of state and assign_state."""

    def build(self, input_shape):
        self.scale = self.add_weight("scale", [], initializer="ones")

    def call(self, inputs):
        return tf.cast(self.scale, inputs.dtype) * inputs


def test_a_layer_with_variables_missing_from_its_state_is_refused():
    good = models.build("bls2017", **SMALL["bls2017"])
    for layers in ([Scaled(name="scaled")], [Residual([Scaled(name="scaled")], name="block")]):
        analysis = Chain([*good.analysis.layers, *layers], name="analysis")
        with pytest.raises(TypeError, match=r"mine, analysis: Scaled scaled has variables"):
            models.CompressionModel(analysis, good.synthesis, good.coder, "mine")


def test_a_model_of_unsupported_layers_is_refused_in_its_constructor():
    with pytest.raises(TypeError, match=r"analysis: Conv2D is not .*CompressionLayer"):
        Chain([tf.keras.layers.Conv2D(8, 5, 2)], name="analysis")
    with pytest.raises(ValueError, match="unique names"):
        Chain([Conv2D(8, 5, name="conv"), Conv2D(8, 5, name="conv")], name="analysis")
    good = models.build("bls2017", **SMALL["bls2017"])
    parts = {"analysis": good.analysis, "synthesis": good.synthesis, "coder": good.coder}
    plain = tf.keras.Sequential([tf.keras.layers.Conv2D(8, 5, 16)])
    for part, value, error in (
        ("analysis", plain, "analysis is a tfc_models.layers.Chain; got Sequential"),
        ("synthesis", good.analysis, "ends in 3 channels; got 12"),
        ("coder", plain, "coder is a class of tfc_models.entropy; got Sequential"),
    ):
        with pytest.raises((TypeError, ValueError), match=error):
            models.CompressionModel(**{**parts, part: value}, name="mine")
