"""The layer of compressible features trains, saves and codes exactly in any Keras model."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests import programs
from tests.features.conftest import built_layer, vectors
from tfc_models.byte_fields import DamagedFileError
from tfc_models.features import CompressibleFeatures


def new_model(prior="factorized", rate=0.01, functional=False):
    tf.keras.utils.set_random_seed(0)
    backbone = tf.keras.layers.Dense(6)
    features, head = CompressibleFeatures(rate, prior, name="features"), tf.keras.layers.Dense(2)
    if functional:
        inputs = tf.keras.Input([4])
        model = tf.keras.Model(inputs, head(features(backbone(inputs))))
    else:
        model = tf.keras.Sequential([tf.keras.Input([4]), backbone, features, head])
    model.compile(
        tf.keras.optimizers.Adam(0.02),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


@pytest.fixture(scope="module")
def data():
    x = vectors(256, 4)
    return x, (x[:, 0] > 0).astype(np.int32)


@pytest.fixture(scope="module", params=["factorized", "conditional"])
def trained(request, data):
    model = new_model(request.param, functional=request.param == "factorized")
    history = model.fit(*data, epochs=15, batch_size=32, verbose=0).history
    return model, history


def test_fit_reduces_the_bits_and_learns_the_task(trained, data):
    model, history = trained
    assert history["bits"][-1] < 0.7 * history["bits"][0]
    assert history["accuracy"][-1] > 0.9
    result = model.evaluate(*data, verbose=0, return_dict=True)
    task = tf.keras.losses.sparse_categorical_crossentropy(data[1], model(data[0]), True)
    expected = np.mean(task) + 0.01 * result["bits"]
    assert result["loss"] == pytest.approx(expected, rel=1e-4)


def test_the_strings_take_the_bits_of_the_metric(trained, data):
    model, _ = trained
    layer = model.get_layer("features")
    layer.freeze()
    features = tf.keras.Model(model.inputs, layer.input)(data[0])
    (string,) = layer.coder.encode(np.asarray(features)[None])
    bits = model.evaluate(*data, verbose=0, return_dict=True)["bits"]
    assert 8 * len(string) / len(data[0]) == pytest.approx(bits, rel=0.03)


def test_saved_models_code_equally_in_a_new_process(trained, data, tmp_path):
    model, _ = trained
    layer = model.get_layer("features")
    layer.freeze()
    features = vectors(20, seed=1)
    strings = layer.compress(features)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "features.npz", features=features)
    code = (
        "import sys, numpy as np, tensorflow as tf, tfc_models.features\n"
        "model = tf.keras.models.load_model(sys.argv[1] + '/model.keras')\n"
        "features = np.load(sys.argv[1] + '/features.npz')['features']\n"
        "print(b''.join(model.get_layer('features').compress(features)).hex())\n"
        "model.fit(np.ones([8, 4]), np.ones([8]), verbose=0)\n"
    )
    done = programs.run("-c", code, str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == b"".join(strings).hex()


def test_weights_and_clones_keep_the_tables(trained, tmp_path):
    model, _ = trained
    features = vectors(5)
    clone = tf.keras.models.clone_model(model)
    assert not clone.get_layer("features").frozen
    model.get_layer("features").freeze()
    model.save_weights(tmp_path / "model.weights.h5")
    clone.load_weights(tmp_path / "model.weights.h5")
    other = tf.keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    for copy in (clone, other):
        layer = copy.get_layer("features")
        assert layer.compress(features) == model.get_layer("features").compress(features)


def test_a_model_is_saved_before_its_tables_exist(data, tmp_path):
    model = new_model()
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    assert not loaded.get_layer("features").frozen
    np.testing.assert_allclose(loaded(data[0]), model(data[0]), rtol=1e-6)
    with pytest.raises(RuntimeError, match=r"call freeze\(\) after training"):
        loaded.get_layer("features").compress(vectors(1))


@pytest.mark.parametrize("shape", [(6,), (3, 5, 6), (1, 1, 6), (0, 4, 6)])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_features_decode_to_the_quantized_ones(layer, shape, count):
    features = np.random.default_rng(0).normal(0.0, 30.0, (count, *shape)).astype(np.float32)
    copy = built_layer(layer.prior_name, shape)
    strings = copy.compress(features)
    decoded = copy.decompress(strings, shape)
    assert len(strings) == count and decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, copy.quantize(features))
    if layer.prior_name == "factorized":
        np.testing.assert_allclose(decoded, copy(features), rtol=1e-5, atol=1e-5)


def test_training_adds_uniform_noise_of_one_step(layer):
    features = tf.zeros([4000, 6])
    noise = layer(features, training=True) / layer.coder.steps
    assert np.abs(noise).max() <= 0.5
    assert np.var(noise) == pytest.approx(1 / 12, rel=0.03)
    rounded = layer(features) / layer.coder.steps
    assert np.abs(rounded).max() <= 0.5001
    np.testing.assert_array_equal(rounded, np.broadcast_to(rounded[:1], rounded.shape))


@pytest.mark.parametrize("prior", ["factorized", "conditional"])
def test_initialize_fits_the_prior_to_features(prior):
    tf.keras.utils.set_random_seed(0)
    features = vectors(400) * np.geomspace(0.5, 50, 6, dtype=np.float32)
    bits = []
    for initialized in (False, True):
        layer = CompressibleFeatures(1.0, prior)
        if initialized:
            layer.initialize(features)
        layer(features)
        bits.append(float(sum(layer.losses)))
    assert bits[1] < 0.8 * bits[0]


def test_straight_through_features_are_rounded_in_training():
    tf.keras.utils.set_random_seed(0)
    layer = CompressibleFeatures(1.0, quantization="straight-through")
    features = tf.constant(vectors(50))
    with tf.GradientTape() as tape:
        tape.watch(features)
        trained = layer(features, training=True)
    np.testing.assert_allclose(trained, layer(features), atol=1e-5)
    np.testing.assert_allclose(tape.gradient(trained, features), np.ones([50, 6]), rtol=1e-6)
    with pytest.raises(ValueError, match="quantization is one of noise, straight-through"):
        CompressibleFeatures(quantization="hard")


def test_a_conditional_prior_takes_fewer_bits_for_clusters():
    rng = np.random.default_rng(0)
    centers = rng.normal(0.0, 12.0, (4, 6))
    features = (centers[rng.integers(4, size=2000)] + rng.normal(size=(2000, 6))).astype("f")
    bits = {}
    for prior in ("factorized", "conditional"):
        tf.keras.utils.set_random_seed(0)
        layer = CompressibleFeatures(1.0, prior)
        model = tf.keras.Sequential([layer])
        layer.build((None, 6))
        optimizer = tf.keras.optimizers.Adam(0.1)

        @tf.function
        def step(batch, layer=layer, optimizer=optimizer, model=model):
            with tf.GradientTape() as tape:
                model(batch, training=True)
                loss = tf.add_n(model.losses)
            variables = layer.prior.trainable_weights
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

        for i in range(200):
            step(features[i % 8 * 250 : i % 8 * 250 + 250])
        layer.freeze()
        (string,) = layer.coder.encode(np.asarray(features)[None])
        bits[prior] = 8 * len(string) / len(features)
    assert bits["conditional"] < 0.8 * bits["factorized"]


def test_half_precision_features_are_coded(factorized):
    features = vectors(3).astype(np.float16)
    strings = factorized.compress(features)
    assert strings == factorized.compress(features.astype(np.float32))


def test_damaged_strings_end_in_an_error_or_in_features(layer):
    rng = np.random.default_rng(0)
    for string in layer.compress(vectors(50)):
        damaged = bytearray(string)
        damaged[rng.integers(len(damaged))] ^= rng.integers(1, 256)
        try:
            assert layer.decompress([bytes(damaged)]).shape == (1, 6)
        except DamagedFileError as error:
            assert str(error).startswith("damaged: ")


@pytest.mark.parametrize(
    ("features", "says"),
    [
        (np.full((2, 6), np.nan, np.float32), "NaN or infinite values: check the input"),
        (np.full((2, 6), 1e20, np.float32), "normalize them"),
        (np.zeros((2, 5), np.float32), r"batch × 6 .*got the shape \(2, 5\)"),
        (np.zeros((2, 3, 6), np.float32), "batch × height × width"),
        (np.zeros((2, 6), np.int32), "floating-point numbers; got int32"),
        ([[1.0] * 6, [1.0]], "same shape"),
    ],
)
def test_unsupported_features_are_refused_in_one_line(factorized, features, says):
    with pytest.raises(ValueError, match=says) as error:
        factorized.compress(features)
    assert "\n" not in str(error.value)


def test_unsupported_shapes_and_settings_are_refused():
    with pytest.raises(ValueError, match="reshape the features before the layer"):
        CompressibleFeatures().build((None, 3, 6))
    with pytest.raises(ValueError, match="known number of channels"):
        CompressibleFeatures().build((None, None))
    with pytest.raises(ValueError, match="prior is one of factorized, conditional"):
        CompressibleFeatures(prior="normal")
    with pytest.raises(ValueError, match="rate is"):
        CompressibleFeatures(rate=-1.0)
    with pytest.raises(RuntimeError, match="call the model once"):
        CompressibleFeatures().freeze()
    layer = built_layer()
    with pytest.raises(ValueError, match="6 channels"):
        layer.decompress([], (7,))
    with pytest.raises(TypeError, match="list of bytes"):
        layer.decompress(["text"])


def test_training_after_freeze_is_noticed():
    layer = built_layer()
    layer.log_steps.assign_add(tf.ones([6]))
    with pytest.raises(RuntimeError, match=r"call freeze\(\) again"):
        layer.compress(vectors(2))
    layer.freeze()
    layer.compress(vectors(2))


def test_weights_that_are_not_finite_have_no_tables():
    layer = built_layer("conditional")
    layer.prior.means.assign(layer.prior.means * np.nan)
    with pytest.raises(ValueError, match="not finite"):
        layer.freeze()
