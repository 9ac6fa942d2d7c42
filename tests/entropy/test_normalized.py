"""Normalized latents under a fixed Laplacian: steps, exactness, and scales that are magnitudes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import SMALL, cropped, golden_codec
from tfc_models import models
from tfc_models.codec import Codec
from tfc_models.entropy import (
    EntropyParameters,
    HyperPrediction,
    LatentCoder,
    NormalizedRounding,
    Rounding,
    Steps,
)
from tfc_models.entropy.normalized import STEPS, step_at
from tfc_models.entropy.parameters import SCALE_MAX, SCALE_MIN, SCALES, Outputs, scale_of
from tfc_models.layers import Chain, Conv2D, relu

NAME = "kirmemis2020"


@pytest.fixture(scope="module")
def codec():
    return golden_codec(NAME)


def frozen_quantization():
    quantization = NormalizedRounding()
    quantization.freeze(None)
    return quantization


def random_params(count, place):
    rng = np.random.default_rng(place)
    index = rng.integers(0, SCALES, [1, count, 1, 1]) + SCALES * place
    mean = np.rint(rng.normal(size=index.shape) * 600.0) / 64.0
    return EntropyParameters(tf.constant(index, tf.float32), tf.constant(mean, tf.float32))


def test_qualities_select_five_steps():
    rates = tf.constant([0.0, 12.0, 13.0, 25.0, 37.0, 38.0, 50.0, 62.0, 63.0, 87.0, 88.0, 100.0])
    places = [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4]
    np.testing.assert_allclose(step_at(rates), np.array(STEPS)[places])


def test_sizes_grow_with_quality_and_equal_steps_give_equal_streams(codec):
    image = cropped(70, 90)
    files = {quality: codec.compress(image, quality) for quality in (0, 12, 25, 50, 75, 100)}
    assert len(files[0]) < len(files[50]) < len(files[100])
    assert len(files[0]) == len(files[12]) and files[0] != files[12]  # The header has the quality.
    np.testing.assert_array_equal(codec.decompress(files[0]), codec.decompress(files[12]))


@pytest.mark.parametrize("place", range(len(STEPS)))
def test_decoded_latents_are_exact_and_within_half_a_step(place):
    quantization, params = frozen_quantization(), random_params(5000, place)
    step = quantization.step(params).numpy().astype(np.float64)
    relative = step / (STEPS[place] * scale_of(params.index - SCALES * place).numpy())
    assert np.all(np.abs(relative - 1.0) <= 2.0**-8)
    q = np.random.default_rng(1).integers(-(2**15), 2**15 + 1, step.shape)
    decoded = quantization.from_symbols(tf.constant(q, tf.float32), params)
    # Integers of any width give the same: the product is exact, the sum is rounded once.
    product = q * step
    assert np.all(product == product.astype(np.float32))
    once = (product + params.mean.numpy()).astype(np.float32)
    np.testing.assert_array_equal(decoded, np.round(once * 64.0) / 64.0)
    y = params.mean + tf.random.stateless_normal(params.mean.shape, [1, 2]) * 5.0
    error = np.abs(quantization.quantize(y, params) - y)
    assert np.all(error <= 0.5 * step + 2.0**-7 + 1e-5)


def test_latents_beyond_the_integers_are_clipped():
    quantization = frozen_quantization()
    params = EntropyParameters(tf.zeros([1, 1, 1, 2]), tf.zeros([1, 1, 1, 2]))
    symbols = quantization.symbols_of(tf.constant([[[[1e6, -1e6]]]]), params)
    np.testing.assert_array_equal(symbols[0, 0, 0], [2.0**15, -(2.0**15)])


@pytest.mark.parametrize("place", range(len(STEPS)))
def test_bits_are_those_of_a_laplacian_of_unit_variance(place):
    params = random_params(7, place)
    q = np.arange(-3.0, 4.0)
    bits = NormalizedRounding().symbol_bits(tf.constant(q.reshape(1, -1, 1, 1), tf.float32), params)

    def below(x):
        tail = 0.5 * np.exp(-np.abs(x) * math.sqrt(2.0))
        return np.where(x < 0, tail, 1.0 - tail)

    mass = below((q + 0.5) * STEPS[place]) - below((q - 0.5) * STEPS[place])
    np.testing.assert_allclose(bits[0, :, 0, 0], -np.log2(mass), rtol=1e-4)


@pytest.mark.parametrize("place", range(len(STEPS)))
def test_real_sizes_of_laplacian_latents_match_the_estimate(codec, place):
    coder = codec.model.coder
    y = tf.constant(np.random.default_rng(3).laplace(size=[1, 40, 50, 12]) * math.sqrt(0.5))
    index = tf.fill(y.shape, float(np.rint(63 * np.log(1 / 0.11) / np.log(256 / 0.11))))
    index += float(SCALES * place)
    params = EntropyParameters(index, tf.zeros(y.shape))
    quantization, y = coder.quantization, tf.cast(y, tf.float32)
    symbols = quantization.symbols_of(y, params)
    groups = coder.prediction.groups(tf.constant([40, 50]))
    (string,) = quantization.encode(coder, symbols, params, groups).numpy()
    assert 8 * len(string) == pytest.approx(
        float(quantization.estimated_bits(y, params)[0]), rel=0.01
    )


def test_exact_scale_indexes_are_the_nearest_of_magnitudes_and_zero_is_the_smallest(codec):
    prediction = codec.model.coder.prediction
    integers = np.concatenate([np.arange(-3000, 3000), [-(10**7), 10**7]]).astype(np.float64)
    unit = np.full(1, 2.0**-8)
    index = prediction._index_of(Outputs(tf.constant(integers.reshape(1, -1, 1, 1)), unit))
    magnitude = np.clip(np.abs(integers) * unit, SCALE_MIN, SCALE_MAX)
    nearest = 63.0 * np.log(magnitude / SCALE_MIN) / np.log(SCALE_MAX / SCALE_MIN)
    assert np.abs(index.numpy().ravel() - nearest).max() < 0.51
    assert float(index.numpy().ravel()[3000]) == 0.0 and index.numpy().max() == SCALES - 1


def test_a_scale_of_zero_has_finite_bits_and_gradients():
    coder = models.build(NAME, **SMALL[NAME]).coder
    outputs = tf.zeros([1, 2, 2, 3])
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        index = coder.prediction._index_of(Outputs(outputs, None)) + 2.0 * SCALES
        params = EntropyParameters(index, tf.zeros_like(outputs))
        bits = coder.quantization.noisy_bits(outputs + 1.0, outputs + 1.3, params)
    assert np.all(np.isfinite(bits)) and np.all(np.isfinite(tape.gradient(bits, outputs)))
    step = coder.quantization.step(params)
    np.testing.assert_allclose(step, SCALE_MIN, rtol=1e-5)


@pytest.mark.parametrize("mode", ["noise", "round", "mixed"])
def test_training_and_freezing_at_every_rate(mode):
    model = models.build(NAME, **SMALL[NAME], quantization=mode)
    y = tf.random.stateless_normal([5, 8, 8, 12], [1, 2]) * 3.0
    y_hat, bits = model.coder(y, training=True)
    assert np.all(np.isfinite(y_hat)) and np.all(bits["y"] > 0.0)
    rate = tf.linspace(0.0, 100.0, 5)
    coder = Codec(model).model.coder
    expected, bits = coder(y, rate=rate)
    strings, encoded = coder.encode(y, rate)
    decoded = coder.decompress(strings, tf.constant([8, 8]), rate)
    np.testing.assert_array_equal(decoded, expected)
    np.testing.assert_array_equal(decoded, encoded)
    errors = np.mean(np.square(decoded - y), axis=(1, 2, 3))
    assert np.all(errors > 0.0) and errors[-1] < errors[0]


def test_the_search_lowers_the_cost_of_a_file(codec):
    image = cropped(48, 64)
    for quality in (0, 100):
        plain, searched = (codec.compress(image, quality, effort=e) for e in (0, 2))
        costs = []
        for data in (plain, searched):
            error = np.mean(np.square(codec.decompress(data).astype(float) - image))
            bpp = 8.0 * len(data) / image[..., 0].size
            lmbda = float(codec.model.lambda_at(tf.constant(float(quality))))
            costs.append(bpp + lmbda * error)
        assert costs[1] <= costs[0]


def test_steps_and_normalized_rounding_need_each_other():
    def parts():
        hyper = [Conv2D(4, 3, down=2, activation=relu, name=f"conv{i}") for i in range(2)]
        heads = Conv2D(12, 4, up=4, kernel="plain", name="heads")
        prediction = HyperPrediction(Chain([heads], name="hyper_synthesis"))
        return Chain(hyper, name="hyper_analysis"), 4, prediction

    for quantization, rates in ((Rounding(), Steps()), (NormalizedRounding(), None)):
        with pytest.raises(ValueError, match="need each other"):
            LatentCoder(*parts(), quantization, rates)
