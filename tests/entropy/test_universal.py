"""Universal quantization: distribution of the error, and bits."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_compression as tfc
from scipy import stats

from benchmarks import damage
from tests.conftest import SMALL, cropped, golden_model, without_graphs
from tfc_models import models
from tfc_models.codec import Codec
from tfc_models.entropy import EntropyParameters, LatentCoder, range_coding

NAME = "mbt2018-universal"
NAMES = [NAME, "gained-universal"]


def coder_of(sharpness: float) -> LatentCoder:
    return models.build(NAME, **SMALL[NAME], sharpness=sharpness).coder


def given_params(y, mean, dither):
    """Returns parameters with one mean, and without scales."""
    return EntropyParameters(None, tf.fill(y.shape, mean), dither=dither)


def given(sharpness: float, values: np.ndarray, mean: float = 0.0) -> np.ndarray:
    """Returns decoded values, one latent each."""
    y = tf.constant(values.reshape(1, -1, 1, 1), tf.float32)
    quantization = coder_of(sharpness).quantization
    dither = quantization.dither_for(tf.shape(y))
    return quantization.quantize(y, given_params(y, mean, dither)).numpy().ravel()


def test_dithered_errors_are_uniform_and_independent_of_the_input():
    values = np.random.default_rng(0).normal(size=200_000) * 1.7
    error = given(0.0, values, 0.3) - values
    assert abs(error.mean()) < 0.003
    assert error.var() == pytest.approx(1 / 12, rel=0.01)
    assert np.abs(error).max() <= 0.5 + 1e-5
    counts = np.histogram(error, 16, (-0.5, 0.5))[0]
    assert counts.std() / counts.mean() < 0.03
    assert abs(np.corrcoef(error, values)[0, 1]) < 0.01
    assert abs(np.corrcoef(error**2, values**2)[0, 1]) < 0.01
    # For comparison, the rounding error of small values determines them.
    small = 0.1 * values
    assert np.corrcoef(np.round(small) - small, small)[0, 1] < -0.9
    assert abs(np.corrcoef(given(0.0, small) - small, small)[0, 1]) < 0.01


@pytest.mark.parametrize("sharpness", [0.0, 4.0])
def test_the_error_of_universal_quantization_is_uniform_for_any_input(sharpness):
    """Kolmogorov–Smirnov test of z − s_α(v) in a frozen coder, for every range of v."""
    model = models.build("gained-universal", **SMALL["gained-universal"], sharpness=sharpness)
    coder = Codec(model).model.coder
    v = np.random.default_rng(0).normal(size=200_000).astype(np.float32) * 0.8
    y = tf.constant(v.reshape(1, -1, 1, 1))
    quantization = coder.quantization
    level = quantization.dither_for(tf.shape(y))
    symbols = quantization.symbols_of(y, given_params(y, 0.0, level))
    error = (symbols + quantization.offset(level) - quantization.soft_round(y)).numpy().ravel()
    edges = np.quantile(v, np.linspace(0, 1, 9))
    for low, high in zip(edges, edges[1:]):
        inside = error[(v >= low) & (v < high)]
        # 64 levels differ from a uniform distribution by 1/128; 0.012 allows for 25,000 samples.
        assert stats.kstest(inside, "uniform", (-0.5, 1.0)).statistic < 1 / 128 + 0.012


@pytest.mark.parametrize(
    ("sharpness", "scale"),
    [*((a, s) for a in (0.0, 2.0, 4.0) for s in (0.11, 0.3, 1.0, 5.0)), (8.0, 0.25), (8.0, 1.0)],
)
def test_the_coded_size_equals_the_bits_estimated_with_noise(sharpness, scale):
    """E[−log p(s + U)], the training objective, equals the mean coded size."""
    coder, count = coder_of(sharpness), 1_000_000
    rng = np.random.default_rng(1)
    y = tf.constant(rng.normal(size=[1, count, 1, 1]) * scale, tf.float32)
    index = 63.0 * np.log(scale / 0.11) / np.log(256 / 0.11)
    index, zero = tf.fill(y.shape, float(np.float32(index))), tf.zeros_like(y)
    noisy = y + tf.constant(rng.uniform(-0.5, 0.5, y.shape), tf.float32)
    bound = (
        float(coder.quantization.noisy_bits(y, noisy, EntropyParameters(index, zero))[0]) / count
    )
    dither = coder.quantization.dither_for(tf.shape(y))
    params = EntropyParameters(index, zero, dither=dither)
    bits = coder.quantization.estimated_bits(y, params)
    assert float(bits[0]) / count == pytest.approx(bound, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [0.25, 0.8, 3.0])
def test_lengths_of_real_strings_match_the_estimate(scale, name):
    model = golden_model(name)
    coder, count = Codec(model).model.coder, 40_000
    y = tf.constant(np.random.default_rng(2).normal(size=[1, count, 1, 1]) * scale, tf.float32)
    index = np.rint(63.0 * np.log(scale / 0.11) / np.log(256 / 0.11))
    index, zero = tf.fill(y.shape, float(index)), tf.zeros_like(y)
    quantization = coder.quantization
    dither = quantization.dither_for(tf.shape(y))
    params = EntropyParameters(index, zero, dither=dither)
    entries, _ = quantization.table_entries(params)
    strings = range_coding.encode(coder, quantization.symbols_of(y, params), entries)
    (seeds,) = quantization.side_strings(tf.shape(y))
    bits = quantization.estimated_bits(y, params)
    assert 8 * len(strings.numpy()[0]) == pytest.approx(float(bits[0]), rel=0.01)
    assert int.from_bytes(seeds.numpy()[0], "little", signed=True) == int(
        quantization.seeds(tf.shape(y))[0]
    )


def test_sharpness_interpolates_between_dither_and_rounding():
    values = np.random.default_rng(0).normal(size=50_000) * 2.0
    rounded = np.round(values)
    errors = [np.mean((given(a, values) - rounded) ** 2) for a in (0.0, 2.0, 6.0, 15.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == pytest.approx(1 / 6, rel=0.05) and errors[-1] < 0.05
    x = tf.constant(values[:1000], tf.float32)
    np.testing.assert_allclose(tfc.soft_round_inverse(tfc.soft_round(x, 5.0), 5.0), x, atol=2e-3)


@pytest.mark.parametrize("sharpness", [2.0, 4.0, 8.0])
def test_decoded_values_are_conditional_means(sharpness):
    """Compares E[v | z] with averages over many v of a uniform distribution."""
    v = np.random.default_rng(0).uniform(-4.0, 4.0, 1_000_000).astype(np.float32)
    coder = Codec(
        models.build("gained-universal", **SMALL["gained-universal"], sharpness=sharpness)
    ).model.coder
    y = tf.constant(v.reshape(1, -1, 1, 1))
    quantization = coder.quantization
    level = quantization.dither_for(tf.shape(y))
    symbols = quantization.symbols_of(y, given_params(y, 0.0, level))
    z = (symbols + quantization.offset(level)).numpy().ravel()
    got = (symbols + quantization.estimate(level)).numpy().ravel()
    inner = np.abs(z) < 3.0
    values, which = np.unique(z[inner], return_inverse=True)
    mean = np.bincount(which, v[inner]) / np.bincount(which)
    estimate = np.bincount(which, got[inner]) / np.bincount(which)
    assert np.abs(estimate - mean).max() < 0.03
    # z itself is a worse estimate of v.
    assert np.abs(values - mean).max() > 0.06
    assert np.mean((got - v)[inner] ** 2) < np.mean((z - v)[inner] ** 2)


@pytest.mark.parametrize("name", NAMES)
def test_dither_levels_are_derived_from_the_seed_in_the_file(name):
    codec = Codec(golden_model(name))
    image = cropped(90, 70)
    codec.model.set_bfloat16("off")
    first = codec.compress(image)
    quantization = codec.model.coder.quantization
    seeds = tf.constant([b"\0\0\0\0", b"\7\0\0\0"])
    level = quantization.read_dither((seeds,), tf.constant([2, 40, 40, 12]))
    count = quantization.levels
    assert count == {"mbt2018-universal": 16}.get(name, 64)
    assert set(np.unique(level)) == set(range(count))
    assert np.mean(level[0] == level[1]) < 0.1
    assert np.abs(np.bincount(level.numpy().ravel()) / level.numpy().size * count - 1).max() < 0.2
    assert codec.compress(image) == first
    quantization.nonce.assign_add(7)  # takes effect at once
    second = codec.compress(image)
    quantization.nonce.assign(0)
    assert second != first
    # Decoders use the seed in the file.
    assert not np.array_equal(codec.latents(first), codec.latents(second))
    assert codec.decompress(second).shape == (90, 70, 3)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_depends_on_the_size_but_not_on_the_latents(name):
    codec = Codec(golden_model(name))
    with without_graphs():
        files = [codec.compress(image) for image in (cropped(90, 70), 255 - cropped(90, 70))]
        other_size = codec.compress(cropped(90, 90))
    streams = [damage.parts(data)[2] for data in (*files, other_size)]
    assert streams[0][1] != streams[1][1]
    seeds = [last for *_, last in streams]
    assert seeds[0] == seeds[1] != seeds[2]


@pytest.mark.parametrize("sharpness", [0.0, 4.0])
def test_errors_of_compressed_latents_are_independent_of_the_latents(sharpness):
    """Over many nonces, the error of each latent is uniform and independent of its neighbours."""
    tf.keras.utils.set_random_seed(0)
    model = models.build("gained-universal", **SMALL["gained-universal"], sharpness=sharpness)
    coder = Codec(model).model.coder
    quantization = coder.quantization
    latents = model.latent_channels
    # Latents repeat, so that equal errors of equal latents would be detected.
    y = tf.tile(tf.linspace(-0.49, 0.49, latents)[None, None, None], [1, 16, 16, 1])
    errors = []
    with without_graphs():
        for nonce in range(15):
            quantization.nonce.assign(nonce)
            z_string, string, seed = coder.compress(y)
            z_hat = tf.round(coder.hyper_latents(y))
            mean = coder.parameters_for(y, z_hat).mean
            level = quantization.read_dither((seed,), tf.shape(y))
            decoded = coder.decompress((z_string, string, seed), tf.constant([16, 16]))
            symbols = decoded - mean - quantization.estimate(level)
            intended = quantization.soft_round(y - mean)
            errors.append(symbols + quantization.offset(level) - intended)
    quantization.nonce.assign(0)
    error = np.concatenate(errors).reshape(-1, latents)
    for channel in error.T:
        assert stats.kstest(channel, "uniform", (-0.5, 1.0)).statistic < 1 / 128 + 0.025
    values = np.broadcast_to(y[0, 0, 0], error.shape)
    assert abs(np.corrcoef(error.ravel(), values.ravel())[0, 1]) < 0.01
    # Errors of neighbours are uncorrelated.
    assert abs(np.corrcoef(error[:-1].ravel(), error[1:].ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("sharpness", [0.0, 4.0])
def test_expected_gradients_are_the_mean_of_pathwise_ones_with_less_variance(sharpness):
    draws = {}
    rng = np.random.default_rng(0)
    value = tf.fill([20_000, 1, 1, 1], 0.3)
    index, zero = tf.fill(value.shape, 12.0), tf.zeros_like(value)
    noise = tf.constant(rng.uniform(-0.5, 0.5, value.shape), tf.float32)
    for mode in ("pathwise", "expected"):
        coder = models.build(NAME, **SMALL[NAME], sharpness=sharpness, rate_gradient=mode).coder
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([value, index])
            params = EntropyParameters(index, zero)
            bits = coder.quantization.noisy_bits(value, value + noise, params)
        draws[mode] = bits.numpy(), *(tape.gradient(bits, v).numpy() for v in (value, index))
    for pathwise, expected in zip(draws["pathwise"][::2], draws["expected"][::2]):
        np.testing.assert_allclose(pathwise, expected, rtol=1e-5)
    pathwise, expected = (draws[mode][1] for mode in ("pathwise", "expected"))
    assert expected.mean() == pytest.approx(pathwise.mean(), rel=0.03)
    assert expected.std() < 1e-3 * pathwise.std()


def test_sharpness_increases_in_training(tmp_path):
    coder = coder_of(4.0)
    assert float(coder.quantization.alpha) == 4.0
    sharpness = []
    for fraction in (0.0, 0.25, 0.5, 1.0):
        coder.anneal(fraction)
        sharpness.append(float(coder.quantization.alpha))
    assert sharpness == [0.0, 2.0, 4.0, 4.0]


def test_the_error_is_that_of_dither_at_every_rate():
    model = models.build("gained-universal", **SMALL["gained-universal"], sharpness=0.0)
    assert model.config["sharpness"] == 0.0
    image = tf.constant(cropped(512, 512)[None], tf.float32)
    for rate in (0.0, 50.0, 100.0):
        y = 40.0 * model.to_latents(image, tf.constant([rate]))
        y_hat, _ = model.coder(y, training=False, rate=tf.constant([rate]))
        error = (y_hat - y).numpy()
        assert error.var() == pytest.approx(1 / 12, rel=0.05)
        assert np.abs(error).max() <= 0.5 + 1e-3
        assert abs(np.corrcoef(error.ravel(), y.numpy().ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("options", [{"sharpness": -1.0}, {"sharpness": 16.0}])
@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_is_refused(options, name):
    with pytest.raises(ValueError, match="sharpness is 0 to 15"):
        models.build(name, **SMALL[name], **options)
    with pytest.raises(ValueError, match="rate_gradient is one of pathwise, expected"):
        models.build(name, **SMALL[name], rate_gradient="both")
