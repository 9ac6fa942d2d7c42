"""Hard shrinkage: its function, its surrogate gradient, and thresholds that train."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import SMALL
from tfc_models import models
from tfc_models.codec import Codec
from tfc_models.layers import HardShrinkage


def layer_of(thresholds):
    layer = HardShrinkage()
    layer.build([None, None, None, len(thresholds)])
    layer.assign_state({"logarithm": np.log(thresholds)})
    return layer


def maps(values, channels=1):
    return tf.constant(np.tile(np.reshape(values, [1, -1, 1, 1]), channels), tf.float32)


def test_values_below_half_the_threshold_become_zero_and_others_stay():
    outputs = layer_of([2.0, 0.5])(maps([-3.0, -1.0, -0.9, -0.2, 0.0, 0.3, 0.99, 1.0, 5.0], 2))
    np.testing.assert_allclose(outputs[0, :, 0, 0], [-3, -1, 0, 0, 0, 0, 0, 1, 5])
    np.testing.assert_allclose(
        outputs[0, :, 0, 1], [-3, -1, -0.9, 0, 0, 0.3, 0.99, 1, 5], rtol=1e-6
    )


def test_the_function_is_the_thresholds_multiple_of_the_unit_function():
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    for threshold in (0.3, 1.0, 4.0):
        ratio = x / threshold
        expected = threshold * np.where(np.abs(ratio) < 0.5, 0.0, ratio)
        actual = layer_of([threshold])(maps(x))[0, :, 0, 0]
        np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_the_gradient_to_the_input_is_exact_and_that_to_the_threshold_is_the_gates():
    x, threshold = np.linspace(-3.0, 3.0, 37), 1.7
    layer, inputs = layer_of([threshold]), maps(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
    of_inputs, of_logarithm = tape.gradient(outputs, [inputs, layer.logarithm])
    np.testing.assert_array_equal(of_inputs[0, :, 0, 0], np.abs(x) >= threshold / 2)
    assert abs(float(of_logarithm[0])) < 1e-5  # Odd in x.

    def gated(logarithm):
        return np.abs(x) / (1.0 + np.exp(-4.0 * (np.abs(x) / np.exp(logarithm) - 0.5)))

    step = 1e-4
    expected = np.sum(gated(np.log(threshold) + step) - gated(np.log(threshold) - step))
    with tf.GradientTape() as tape:
        sums = tf.reduce_sum(layer(inputs) * tf.sign(inputs))
    actual = tape.gradient(sums, layer.logarithm)
    np.testing.assert_allclose(actual, [expected / (2.0 * step)], rtol=1e-3)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_thresholds_train_to_those_of_the_data(dtype):
    """Each channel learns which magnitudes are noise; dtype of the maps does not matter."""
    layer, optimizer = layer_of([0.05, 0.05, 3.0]), tf.keras.optimizers.Adam(0.05)
    rng = np.random.default_rng(0)
    signal = rng.choice([-2.0, 0.0, 2.0], [8, 16, 16, 3]).astype(np.float32)
    x = tf.cast(signal + rng.normal(size=signal.shape) * 0.15, dtype)
    for _ in range(150):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.cast(layer(x), tf.float32) - signal))
        optimizer.apply_gradients([(tape.gradient(loss, layer.logarithm), layer.logarithm)])
    agreement = np.mean((layer(x).numpy() != 0.0) == (signal != 0.0), axis=(0, 1, 2))
    assert np.all(agreement > 0.98)


def test_values_that_are_not_numbers_stay_visible():
    assert np.isnan(layer_of([1.0])(maps([np.nan, 0.0]))[0, 0, 0, 0])


def test_a_channel_whose_outputs_are_all_zero_recovers():
    layer, optimizer = layer_of([50.0]), tf.keras.optimizers.Adam(0.1)
    x = tf.random.stateless_normal([4, 8, 8, 1], [1, 2])
    assert not np.any(layer(x))
    for _ in range(100):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(layer(x) - x))
        optimizer.apply_gradients([(tape.gradient(loss, layer.logarithm), layer.logarithm)])
    assert np.mean(layer(x) != 0.0) > 0.5


def test_thresholds_stay_positive_after_any_step_and_at_zero_nothing_changes():
    layer = layer_of([1e-3])
    tf.keras.optimizers.SGD(1.0).apply_gradients([(tf.constant([1000.0]), layer.logarithm)])
    assert float(layer.threshold[0]) >= 0.0
    x = tf.random.stateless_normal([1, 8, 8, 1], [1, 2])
    np.testing.assert_array_equal(layer(x), x)


def test_a_model_with_a_threshold_that_is_not_a_number_is_refused():
    model = models.build("kirmemis2020", **SMALL["kirmemis2020"])
    name = "synthesis/activation1/logarithm"
    state = {k: np.array(v) for k, v in model.state().items()}
    model.assign_state({**state, name: state[name] * np.nan})
    with pytest.raises(ValueError, match=name):
        Codec(model)
