"""Feedback of rounding errors uses the correlation of inputs."""

from __future__ import annotations

import numpy as np
import pytest

from tfc_models.weights.error_feedback import InputStatistics, rounded
from tfc_models.weights.steps import steps_of


def _bits(integers):
    counts = np.unique(integers, return_counts=True)[1]
    return -np.log2(counts / counts.sum()) @ counts


def _product(integers, row_codes, column_codes):
    return integers * steps_of(row_codes)[:, None] * steps_of(column_codes)


@pytest.fixture(scope="module")
def layer():
    """Returns correlated inputs, weights, and curvatures of the outputs."""
    rng = np.random.default_rng(0)
    covariance = 0.97 ** np.abs(np.subtract.outer(np.arange(80), np.arange(80)))
    inputs = rng.multivariate_normal(np.zeros(80), covariance, 4000)
    return inputs, rng.normal(size=(80, 50)), np.geomspace(0.1, 10.0, 50)


def test_outputs_change_less_than_with_plain_rounding_at_equal_bits(layer):
    inputs, weights, curvature = layer
    statistics = InputStatistics(inputs.T @ inputs / len(inputs))

    def loss(other):
        return np.mean(curvature * (inputs @ (other - weights)) ** 2)

    parts = rounded(weights, statistics, curvature, step=0.5)
    # Plain rounding with one step, chosen to take as many bits.
    steps = np.geomspace(0.05, 2.0, 200)
    sizes = [_bits(np.rint(weights / step)) for step in steps]
    step = steps[np.argmin(np.abs(np.array(sizes) - _bits(parts[0])))]
    plain = np.rint(weights / step) * step
    assert loss(_product(*parts)) < 0.3 * loss(plain)


def test_smaller_steps_approach_the_weights(layer):
    inputs, weights, curvature = layer
    statistics = InputStatistics(inputs.T @ inputs / len(inputs))
    parts = rounded(weights, statistics, curvature, step=1e-4)
    np.testing.assert_allclose(_product(*parts), weights, atol=1e-2)


def test_inputs_without_variance_and_outputs_without_effect():
    moments = np.diag([1.0, 0.0, 2.0])
    weights = np.random.default_rng(1).normal(size=(3, 4))
    parts = rounded(weights, InputStatistics(moments), np.array([1.0, 0.0, 1.0, 1.0]), 0.01)
    product = _product(*parts)
    assert np.all(np.isfinite(product)) and parts[0].dtype == np.int32
    np.testing.assert_allclose(
        product[[0, 2]][:, [0, 2, 3]], weights[[0, 2]][:, [0, 2, 3]], atol=0.05
    )
