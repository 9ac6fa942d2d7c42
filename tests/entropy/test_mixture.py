"""Mixtures of Gaussians: exact distribution functions, coding by decisions, estimated bits."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest
import tensorflow as tf

from tfc_models import models
from tfc_models.entropy import MixtureRounding, Rounding, decisions, range_coding
from tfc_models.entropy.order import Group
from tfc_models.entropy.parameters import EntropyParameters, scale_of
from tfc_models.entropy.tables import least_bits

COMPONENTS = 3


def coder_with_tables():
    cdf, offset = decisions.decision_tables()
    return types.SimpleNamespace(
        cdf=tf.constant(cdf), cdf_offset=tf.constant(offset), least_bits=least_bits(cdf)
    )


def random_parameters(count, low, high, seed=0):
    rng = np.random.default_rng(seed)
    scales = rng.integers(low, high, [1, count, 1, COMPONENTS])
    weights = rng.integers(0, 64, [1, count, 1, COMPONENTS])
    means = np.round(rng.normal(size=[1, count, 1, COMPONENTS]) * 640.0) / 64.0
    index = np.concatenate([scales, weights], -1).reshape(1, count, 1, -1).astype(np.float32)
    return tf.constant(index), tf.constant(means.reshape(1, count, 1, -1).astype(np.float32))


def distribution(index, mean):
    scales, weights = np.split(index.numpy().reshape(-1, 2 * COMPONENTS), 2, axis=-1)
    weights = np.exp(weights / 8.0)
    return (
        scale_of(scales).numpy().astype(np.float64),
        weights / weights.sum(-1, keepdims=True),
        mean.numpy().reshape(-1, COMPONENTS).astype(np.float64),
    )


def drawn(index, mean, seed=1):
    rng = np.random.default_rng(seed)
    scales, weights, means = distribution(index, mean)
    which = (rng.random([len(means), 1]) > np.cumsum(weights, -1)).sum(-1, keepdims=True)
    which = np.minimum(which, COMPONENTS - 1)
    own = [np.take_along_axis(a, which, -1)[:, 0] for a in (means, scales)]
    return np.round(rng.normal(*own)).astype(np.float32).reshape(1, -1, 1, 1)


def coded(integers, index, mean):
    """Returns the coded string and the integers decoded from it."""
    quantization, coder = MixtureRounding(COMPONENTS), coder_with_tables()
    quantization.freeze(None)
    params = EntropyParameters(index, mean)
    groups = [Group(slice(None))]
    string = quantization.encode(coder, tf.constant(integers), params, groups)
    count = tf.constant(integers.size * quantization.max_reads_per_symbol)
    decoder = range_coding.Decoder(coder, string, count)
    rows = [tf.reshape(m, [1, -1, m.shape[3]]) for m in (index, mean)]
    _, read = quantization.read(decoder, None, EntropyParameters(*rows))
    return string.numpy()[0], read.numpy().ravel()


@pytest.mark.parametrize(("low", "high"), [(0, 8), (16, 40), (56, 64)])
def test_exact_distribution_functions_are_those_of_the_mixture(low, high):
    index, mean = random_parameters(200, low, high)
    quantization = MixtureRounding(COMPONENTS)
    quantization.freeze(None)
    mixtures = quantization._mixtures(index, mean)
    scales, weights, means = distribution(index, mean)
    for distance in (-40, -3, 0, 1, 7):
        edge = mixtures.center + distance
        ratio = (mixtures.below(edge) / mixtures.total).numpy().ravel()
        deviations = (edge.numpy().reshape(-1, 1) - 0.5 - means) / scales
        expected = (weights * 0.5 * np.vectorize(math.erfc)(-deviations / math.sqrt(2.0))).sum(-1)
        np.testing.assert_allclose(ratio, expected, atol=2e-3)  # Weights have ten bits.


@pytest.mark.parametrize(("low", "high"), [(0, 12), (12, 40), (48, 64)])
def test_coded_sizes_are_near_the_estimate(low, high):
    index, mean = random_parameters(4000, low, high)
    integers = drawn(index, mean)
    string, read = coded(integers, index, mean)
    np.testing.assert_array_equal(read, integers.ravel())
    bits = MixtureRounding(COMPONENTS).symbol_bits(
        tf.constant(integers), EntropyParameters(index, mean)
    )
    assert 8.0 * len(string) == pytest.approx(float(tf.reduce_sum(bits)), rel=0.01, abs=60.0)


def test_integers_far_from_all_means_are_coded():
    index, mean = random_parameters(40, 0, 64)
    integers = drawn(index, mean).ravel()
    integers[::4] = [0, 1, -1, 90, -90, 5000, -5000, 2**20, -(2**20), 7]
    string, read = coded(integers.reshape(1, -1, 1, 1), index, mean)
    np.testing.assert_array_equal(read, integers)
    assert len(string) < 200


def test_equal_components_are_one_gaussian():
    rng = np.random.default_rng(0)
    y = tf.constant(rng.normal(size=[2, 4, 5, 6]).astype(np.float32) * 4.0)
    index = tf.constant(rng.uniform(0, 63, y.shape).astype(np.float32))
    mean = tf.constant(rng.normal(size=y.shape).astype(np.float32))
    repeated = tf.repeat(index, 3, -1)
    weights = tf.constant(rng.uniform(0, 63, [2, 4, 5, 18]).astype(np.float32))
    shape = [2, 4, 5, 6, 3]
    both = tf.concat([tf.reshape(repeated, shape), tf.reshape(weights, shape)], -1)
    params = EntropyParameters(tf.reshape(both, [2, 4, 5, 36]), tf.repeat(mean, 3, -1))
    bits = MixtureRounding(3).symbol_bits(y, params)
    single = Rounding(around_means=False).symbol_bits(y, EntropyParameters(index, mean))
    np.testing.assert_allclose(bits, single, rtol=1e-4, atol=1e-4)


def test_every_parameter_of_a_mixture_has_a_gradient():
    index, mean = random_parameters(50, 36, 50)
    y = tf.constant(drawn(index, mean))
    with tf.GradientTape() as tape:
        tape.watch([index, mean])
        bits = MixtureRounding(COMPONENTS).noisy_bits(y, y, EntropyParameters(index, mean))
    of_index, of_mean = tape.gradient(bits, [index, mean])
    inside = (index.numpy() > 0.0) & (index.numpy() < 63.0)
    assert np.all(np.isfinite(of_index)) and np.all(np.isfinite(of_mean))
    assert np.mean(of_index.numpy()[inside] != 0.0) > 0.9 and np.mean(of_mean != 0.0) > 0.9


def test_invalid_mixtures_are_refused():
    with pytest.raises(ValueError, match="2 or more components; got 1"):
        MixtureRounding(1)
    with pytest.raises(ValueError, match="Gaussian components; got 'laplace'"):
        models.build("cheng2020-anchor", components=3, distribution="laplace")
