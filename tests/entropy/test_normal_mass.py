"""Log-probabilities of normal intervals, against float64 and far into the tails."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tests.conftest import SMALL
from tfc_models import models
from tfc_models.entropy import EntropyParameters
from tfc_models.entropy.normal_mass import log_box_mass


def exact(distance: np.ndarray, scale: np.ndarray):
    """Returns the log-probability and its gradients to distance and scale in float64."""
    lower, upper = (distance - 0.5) / scale, (distance + 0.5) / scale
    of_lower, of_upper = special.log_ndtr(-lower), special.log_ndtr(-upper)
    value = of_lower + np.log(-np.expm1(of_upper - of_lower))
    # φ/p = 1 / (M(lower) − exp(−x) · M(upper)), with Mills' ratio M.
    mills = [math.sqrt(math.pi / 2) * special.erfcx(u / math.sqrt(2)) for u in (lower, upper)]
    x = distance / scale**2
    ratio = 1.0 / (mills[0] - np.exp(-x) * mills[1])
    of_distance = ratio * np.expm1(-x) / scale
    of_scale = -ratio * (lower * np.expm1(-x) + np.exp(-x) / scale) / scale
    return value, of_distance, of_scale


def test_values_and_gradients_are_those_of_float64():
    scales = np.geomspace(0.11, 256.0, 64, dtype=np.float32)
    near, far = np.linspace(0.0, 30.0, 301), np.linspace(30.0, 1000.0, 195)
    distances = np.concatenate([near, far]).astype(np.float32)
    distance, scale = (a.ravel() for a in np.meshgrid(distances, scales))
    inputs = tf.constant(-distance), tf.constant(scale)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = log_box_mass(*inputs)
    of_distance, of_scale = tape.gradient(value, inputs)
    expected = exact(distance.astype(np.float64), scale.astype(np.float64))
    # In nats. In float32, differences of the tails of wide distributions have few exact digits.
    np.testing.assert_allclose(value, expected[0], rtol=1e-5, atol=5e-5)
    np.testing.assert_allclose(-of_distance, expected[1], rtol=3e-4, atol=1e-6)
    np.testing.assert_allclose(of_scale, expected[2], rtol=3e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mbt2018-mean", "mbt2018-universal"])
def test_outliers_have_exact_costs_and_gradients(name):
    """A latent of 40 under a scale of 0.11 costs 93,000 bits."""
    coder = models.build(name, **SMALL[name]).coder
    y, index = tf.constant([[[[40.0]]]]), tf.constant([[[[0.0]]]])
    mean = tf.zeros_like(y)
    if name == "mbt2018-universal":
        coder.anneal(0.0)  # without soft rounding, so that the value is equal
    with tf.GradientTape() as tape:
        tape.watch([y, index])
        bits = coder.quantization.noisy_bits(y, y, EntropyParameters(index, mean))
    expected = -exact(np.array(40.0), np.array(0.11))[0] / math.log(2.0)
    assert expected == pytest.approx(93000, rel=0.01)
    assert float(bits[0]) == pytest.approx(expected, rel=1e-4)
    of_y, of_index = tape.gradient(bits, [y, index])
    assert of_y.numpy().item() > 1000.0
    # A larger scale would cost less; at the end of the table gradients inward pass.
    assert of_index.numpy().item() < -1000.0


def test_soft_rounding_keeps_gradients_in_the_tails():
    name = "mbt2018-universal"
    coder = models.build(name, **SMALL[name]).coder
    y, index = tf.constant([[[[33.3]]]]), tf.constant([[[[3.0]]]])
    with tf.GradientTape() as tape:
        tape.watch([y, index])
        params = EntropyParameters(index, tf.zeros_like(y))
        bits = coder.quantization.noisy_bits(y, y + 0.2, params)
    gradients = tape.gradient(bits, [y, index])
    assert float(bits[0]) > 1000.0
    assert all(np.isfinite(g) and abs(g.numpy().item()) > 1.0 for g in gradients)
