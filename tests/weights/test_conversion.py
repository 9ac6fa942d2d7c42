"""Keras models convert to compressible ones, train with fit, and come back from their files."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfc_models import weights

keras = tf.keras


def _image_model():
    """Returns a functional model with every kind of layer for images, and a nested model."""
    inputs = keras.Input([8, 8, 2])
    x = keras.layers.Conv2D(4, (3, 2), padding="same", name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    inner = keras.Sequential([keras.layers.Conv2D(3, 1, use_bias=False, name="point")], name="in")
    inner.build([None, None, None, 4])
    x = keras.layers.Flatten()(inner(x))
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x), name="images")


def _text_model():
    return keras.Sequential(
        [
            keras.layers.Embedding(50, 6, input_length=9, name="words"),
            keras.layers.Conv1D(5, 3, activation="relu", name="conv"),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2, name="head"),
        ],
        name="texts",
    )


def _images(count=64):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 8, 8, 2)).astype(np.float32), rng.integers(0, 3, count)


@pytest.fixture(scope="module")
def trained():
    """A compressible model that was trained, and the plain one that it was made of."""
    keras.utils.set_random_seed(0)
    model = _image_model()
    _fit(model, epochs=1)
    copy = weights.compressible(model, rate=30.0)
    _fit(copy, epochs=8, rate=0.03)
    return model, copy


def _fit(model, epochs, rate=1e-3):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model.fit(*_images(), epochs=epochs, validation_data=_images(16), verbose=0)


@pytest.mark.parametrize("prior", ["factorized", "logistic", "power-law"])
def test_a_copy_starts_as_the_model(prior):
    model = _image_model()
    copy = weights.compressible(model, prior=prior, step=1e-3)
    images = _images()[0]
    np.testing.assert_allclose(copy(images), model(images), atol=2e-2)
    assert copy.layers[1].get_config()["bit_cost"] == pytest.approx(1 / 431)


def test_fit_reduces_the_rate_and_every_variable_has_a_gradient(trained):
    model, copy = trained
    before = weights.estimated_bytes(weights.compressible(model))
    assert weights.estimated_bytes(copy) < 0.9 * before
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(copy(_images()[0]) ** 2) + tf.add_n(copy.losses)
    for variable, gradient in zip(
        copy.trainable_variables, tape.gradient(loss, copy.trainable_variables)
    ):
        assert gradient is not None and np.any(gradient != 0), variable.name


def test_the_file_gives_what_the_compressible_model_computes(trained):
    model, copy = trained
    data = weights.compress(copy)
    images = _images()[0]
    restored = weights.decompress(data, model)
    assert [type(layer) for layer in restored.layers] == [type(layer) for layer in model.layers]
    np.testing.assert_allclose(restored(images), copy(images), atol=2e-2)
    np.testing.assert_array_equal(restored(images), weights.plain(copy)(images))
    np.testing.assert_array_equal(weights.decompress(data, copy)(images), restored(images))
    assert len(data) < 1.3 * weights.estimated_bytes(copy) + 400


def test_keras_saves_and_loads_compressible_models(trained, tmp_path):
    _, copy = trained
    for path in (tmp_path / "model.keras", tmp_path / "folder"):
        copy.save(path)
        loaded = keras.models.load_model(path)
        assert weights.compress(loaded) == weights.compress(copy), path
    copy.save_weights(tmp_path / "w.weights.h5")
    other = weights.compressible(_image_model())
    other.load_weights(tmp_path / "w.weights.h5")
    assert weights.compress(other) == weights.compress(copy)


def test_embeddings_and_sequences():
    model = _text_model()
    words = np.random.default_rng(1).integers(0, 50, (20, 9))
    data = weights.compress(weights.compressible(model, step=0.02))
    np.testing.assert_allclose(
        weights.decompress(data, _text_model())(words), model(words), atol=0.02
    )


def test_a_plain_model_is_rounded_to_a_given_step():
    model = _text_model()
    sizes = []
    for step in (0.02, 0.5):
        data = weights.compress(model, step=step)
        sizes.append(len(data))
        head = weights.decompress(data, model).get_layer("head").kernel.numpy()
        expected = model.get_layer("head").kernel.numpy()
        assert np.abs(head - expected).max() < 0.6 * step * np.std(expected)
    assert sizes[1] < 0.7 * sizes[0]


def test_the_power_law_needs_no_tables():
    copy = weights.compressible(_text_model(), prior="power-law", step=0.5)
    data = weights.compress(copy)
    assert data[5] == 1 and weights.compress(copy, coder="range")[5] == 0
    words = np.random.default_rng(1).integers(0, 50, (20, 9))
    np.testing.assert_allclose(weights.decompress(data, copy)(words), copy(words), atol=1e-5)
    with pytest.raises(ValueError, match="damaged"):
        weights.decompress(data[:-9], copy)


def test_layers_that_are_kept_are_stored_as_float16():
    model = keras.Sequential(
        [keras.layers.GRU(4, name="gru"), keras.layers.Dense(2)], name="recurrent"
    )
    model.build([None, 5, 3])
    inputs = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    with pytest.raises(ValueError, match=r"layer 'gru' is a GRU.*keep=\['gru'\]"):
        weights.compressible(model)
    copy = weights.compressible(model, step=0.01, keep=["gru"])
    restored = weights.decompress(weights.compress(copy), model)
    np.testing.assert_allclose(restored(inputs), model(inputs), atol=0.02)


def test_normalizations_without_scale_or_offset():
    model = keras.Sequential(
        [
            keras.layers.Dense(4, input_shape=(3,)),
            keras.layers.BatchNormalization(scale=False),
            keras.layers.BatchNormalization(center=False),
            keras.layers.LayerNormalization(),
        ]
    )
    rng = np.random.default_rng(0)
    for layer in model.layers[1:]:
        layer.set_weights([rng.uniform(0.5, 2.0, w.shape) for w in layer.get_weights()])
    inputs = rng.normal(size=(9, 3)).astype(np.float32)
    restored = weights.decompress(weights.compress(model, step=1e-3), model)
    np.testing.assert_allclose(restored(inputs), model(inputs), atol=0.02)


def test_errors_state_the_problem_and_the_remedy():
    model, text = _image_model(), _text_model()
    other = _image_model()
    wide = keras.Sequential([keras.layers.Dense(2, name="head", input_shape=(3,))])
    narrow = keras.Sequential([keras.layers.Dense(1, name="head", input_shape=(3,))])
    with pytest.raises(ValueError, match=r"head/kernel has the shape \(3, 2\) in the file"):
        weights.decompress(weights.compress(wide, step=0.1), narrow)
    with pytest.raises(ValueError, match="of another architecture: it has no conv/kernel"):
        weights.decompress(weights.compress(wide, step=0.1), model)
    with pytest.raises(ValueError, match="no layer 'x' to keep"):
        weights.compressible(model, keep=["x"])
    with pytest.raises(ValueError, match="give step"):
        weights.compress(text)
    with pytest.raises(ValueError, match="leave out step"):
        weights.compress(weights.compressible(text), step=0.1)
    with pytest.raises(ValueError, match="call it on some data first"):
        weights.compressible(keras.Sequential([keras.layers.Dense(2)]))
    with pytest.raises(ValueError, match="no weights that can be compressed"):
        weights.compressible(keras.Sequential([keras.layers.Flatten(input_shape=(2, 2))]))
    other.get_layer("head").kernel.assign(np.full(other.get_layer("head").kernel.shape, np.nan))
    with pytest.raises(ValueError, match="not finite"):
        weights.compressible(other)
    with pytest.raises(ValueError, match="head/kernel holds values that are not finite"):
        weights.compress(other, step=0.1)

    for options in ({"rate": -1.0}, {"rate": np.nan}, {"step": 0.0}):
        (name,) = options
        with pytest.raises(ValueError, match=f"{name} must be"):
            weights.compressible(model, **options)
    shapes = [keras.layers.Dense(2, name="a", input_shape=(3,))]
    normalized = [*shapes, keras.layers.BatchNormalization(scale=False, center=False)]
    data = weights.compress(keras.Sequential(normalized), step=0.1)
    with pytest.raises(ValueError, match="the model has no batch_normalization"):
        weights.decompress(data, keras.Sequential(shapes))

    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="only Sequential and functional models"):
        weights.compressible(Subclassed())
