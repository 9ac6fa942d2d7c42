"""Codes of small sources: common interface, real bits and known optima."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_compression as tfc
import tensorflow_probability as tfp
from scipy import integrate, optimize, stats

from tfc_models import sources
from tfc_models.sources.compressors import QUANTIZATIONS

BANANA = sources.banana().sample(20_000, seed=(5, 6)).numpy()


def networks(**changes):
    options = {"lmbda": 8.0, "hidden": (12,), **changes}
    return sources.nonlinear(2, 2, **options)


CODES = {
    "linear": lambda: sources.linear(BANANA, 2, 8.0),
    "klt": lambda: sources.klt(BANANA, 1, 8.0, mean=True),
    **{q: (lambda q=q: networks(quantization=q)) for q in QUANTIZATIONS},
    "gains": lambda: networks(lmbda=(1.0, 32.0)),
    "conditioned": lambda: networks(lmbda=(1.0, 32.0), conditioned=True),
    "vector-quantizer": lambda: sources.vector_quantizer(BANANA, 40, 8.0),
    "lloyd": lambda: sources.lloyd(BANANA, 40, 8.0, rounds=20),
}


def minimized(code, source, steps, rate=3e-3, batch=512):
    """Returns the code after a short training."""
    optimizer = tf.keras.optimizers.legacy.Adam(rate)

    @tf.function
    def step(i):
        with tf.GradientTape() as tape:
            loss = code.losses_of(source.sample(batch, seed=tf.stack([1, i])), tf.stack([2, i]))
        gradients = tape.gradient(loss["loss"], code.trainable_variables)
        optimizer.apply_gradients(zip(gradients, code.trainable_variables))

    for i in range(steps):
        code.anneal(i / steps)
        optimizer.learning_rate.assign(rate * min(1.0, 2.0 * (1.0 - i / steps)))
        step(tf.constant(i))
    code.anneal(1.0)
    return code


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", CODES)
def test_all_codes_have_the_same_interface(name):
    tf.keras.utils.set_random_seed(1)
    code = CODES[name]()
    if name != "lloyd":
        code = minimized(code, sources.banana(), 20)
    samples = tf.constant(BANANA[:5000])
    lmbda = 4.0 if len(set(code.lmbdas)) > 1 else None
    coded = code.coded(samples, lmbda)
    assert coded.rate.shape == coded.distortion.shape == [5000]
    errors = tf.reduce_sum(tf.square(samples - coded.reconstruction), -1) / (1 + code.mean)
    np.testing.assert_allclose(coded.distortion, errors, rtol=1e-4, atol=1e-5)
    for name_of, value in zip(("rate", "distortion", "reconstruct"), coded):
        np.testing.assert_array_equal(getattr(code, name_of)(samples, lmbda), value)
    symbols = code.symbols(samples, lmbda)
    assert symbols.dtype == tf.int32 and symbols.shape[0] == 5000
    data = code.compress(samples, lmbda)
    np.testing.assert_allclose(
        code.decompress(data, 5000, lmbda), coded.reconstruction, rtol=1e-5, atol=1e-5
    )
    # The range coder's size matches its probabilities; values outside the table take more bits.
    estimated = float(tf.reduce_sum(coded.rate))
    assert 0.99 * estimated < 8 * len(data) < 1.03 * estimated + 64


@pytest.mark.parametrize("name", CODES)
def test_every_trained_variable_has_a_gradient(name):
    code = CODES[name]()
    code.losses_of(tf.constant(BANANA[:4]), tf.constant([0, 1]))
    with tf.GradientTape() as tape:
        losses = code.losses_of(tf.constant(BANANA[:512]), tf.constant([0, 1]))
    assert set(losses) == {"loss", "rate", "distortion"}
    gradients = tape.gradient(losses["loss"], code.trainable_variables)
    assert len(gradients) > 1
    for variable, gradient in zip(code.trainable_variables, gradients):
        assert gradient is not None, variable.name
        assert np.all(np.isfinite(tf.convert_to_tensor(gradient))), variable.name


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_losses_in_training_approximate_those_of_coding(quantization):
    """Bits with noise exceed those of rounding slightly where the prior fits."""
    tf.keras.utils.set_random_seed(1)
    code = minimized(networks(quantization=quantization, hidden=(30, 30)), sources.banana(), 250)
    samples = tf.constant(BANANA)
    losses = [code.losses_of(samples, tf.constant([3, i]))["rate"] for i in range(8)]
    noisy, result = float(np.mean(losses)), sources.measured(code, BANANA)
    assert 0.85 * noisy < result.bits < 1.03 * noisy
    if quantization == "universal":
        assert 0.98 * noisy < result.bits  # Coding uses the same noise.
    else:
        assert result.joint - 0.02 < result.bits
    assert result.coded == pytest.approx(result.bits, rel=0.01)


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_rates_are_computed_for_the_variable_of_the_density(quantization):
    """The variable is the soft-rounded latent with noise, not the input of the synthesis."""
    tf.keras.utils.set_random_seed(1)
    code = networks(quantization=quantization)
    code.anneal(1.0)
    samples, seed = tf.constant(BANANA[:64]), tf.constant([3, 4])
    result = float(code.losses_of(samples, seed)["rate"])
    of_noise = tfp.random.split_seed(seed, n=2, salt="training")[0]
    y = code.analysis(samples, tf.zeros([64, 1]))
    noise = tf.random.stateless_uniform(y.shape, of_noise, -0.5, 0.5)
    sharpness = code.sharpness if quantization == "soft" else None
    noisy = noise + (y if sharpness is None else tfc.soft_round(y, sharpness))
    nats = code._prior(None, sharpness).log_prob(noisy)
    assert result == pytest.approx(-float(tf.reduce_mean(tf.reduce_sum(nats, -1))) / math.log(2.0))


def test_priors_under_gains_are_densities():
    code = networks(lmbda=(1.0, 32.0))
    times = tf.constant([2.0, 0.3])
    z = tf.range(-400.0, 400.0, 0.05)[:, None] * tf.ones([1, 2])
    for sharpness in (None, 5.0):
        mass = tf.reduce_sum(code._prior(times, sharpness).prob(z), 0) * 0.05
        np.testing.assert_allclose(mass, 1.0, atol=0.01)
    # Densities of doubled values are halved, where the noise is negligible.
    one, two = (code._prior(t * tf.ones([2]), None) for t in (4.0, 8.0))
    np.testing.assert_allclose(one.prob([40.0] * 2), 2.0 * two.prob([80.0] * 2), rtol=0.02)


def test_a_single_code_vector_takes_no_bits():
    code = sources.lloyd(BANANA, 8, 1e-4)
    assert code.codebook.shape[0] == 1
    data = code.compress(BANANA[:300])
    assert len(data) <= 2
    np.testing.assert_array_equal(code.decompress(data, 300), code.reconstruct(BANANA[:300]))


def test_dither_errors_are_uniform_and_independent_of_the_sample():
    code = minimized(networks(quantization="universal", hidden=(20,)), sources.banana(), 200)
    place = code._one_place(None)
    samples = tf.constant(BANANA)
    y = code._latents(samples, place)
    y_hat, _ = code._entropy_model(place)(y, training=False)
    error = (y_hat - y).numpy()
    # tfc draws from 15 of 16 levels, so the error is nearly uniform.
    assert np.abs(error).max() <= 0.5 + 1e-4
    assert error.mean() == pytest.approx(0.0, abs=0.01)
    assert error.var() == pytest.approx(1 / 12, rel=0.03)
    for column, latent in zip(error.T, y.numpy().T):
        assert abs(stats.spearmanr(column, latent).statistic) < 0.03
        fraction = latent - np.floor(latent)
        assert abs(stats.spearmanr(column, fraction).statistic) < 0.1


def test_soft_rounding_approaches_rounding():
    """At integers, the density of soft rounding with noise equals that of rounding."""
    code = networks()
    code.anneal(0.0)
    assert code.sharpness.numpy() == 0.0
    code.anneal(0.25)
    middle = code.sharpness.numpy()
    code.anneal(0.8)
    assert 0.0 < middle < code.sharpness.numpy()
    # Both densities agree at integers.
    z = tf.constant([[-1.0, 0.0], [2.0, 1.0]])
    soft, hard = (code._prior(None, s).log_prob(z) for s in (code.sharpness, None))
    np.testing.assert_allclose(soft, hard, atol=1e-4)


def test_tables_are_rebuilt_when_priors_change():
    code = minimized(networks(), sources.banana(), 20)
    samples = tf.constant(BANANA[:500])
    before = code.compress(samples)
    assert code.compress(samples) == before
    minimized(code, sources.banana(), 150)
    after = code.compress(samples)
    assert len(after) < len(before)
    np.testing.assert_allclose(
        code.decompress(after, 500), code.reconstruct(samples), rtol=1e-5, atol=1e-5
    )


def test_lloyds_iteration_never_increases_the_distortion_and_converges_to_equal_arcs():
    circle = sources.Sphere(2).sample(20_000, seed=(0, 1)).numpy()
    costs = []
    for rounds in (1, 2, 4, 8, 400):
        code = sources.lloyd(circle, 60, 100.0, rounds=rounds)
        result = code.coded(circle)
        costs.append(float(tf.reduce_mean(result.rate + 100.0 * result.distortion)))
    assert all(after <= before + 1e-5 for before, after in zip(costs, costs[1:]))
    best = sources.circle_cost(100.0, sources.circle_cells(100.0))
    assert best - 0.02 < costs[-1] < best + 0.1
    # Unused code vectors are removed.
    assert code.codebook.shape[0] < 40
    np.testing.assert_allclose(tf.reduce_sum(tf.nn.softmax(code.logits)), 1.0, rtol=1e-5)


def test_equal_arcs_of_a_circle():
    for lmbda in (0.0, 2.0, 10.0, 100.0):
        cells = sources.circle_cells(lmbda)
        costs = [sources.circle_cost(lmbda, k) for k in range(1, 80)]
        assert costs[cells - 1] == min(costs)
    # The error of an arc, by integration.
    inner = integrate.quad(math.cos, -math.pi / 5, math.pi / 5)[0] * 5 / (2 * math.pi)
    assert sources.circle_cost(1.0, 5) - math.log2(5) == pytest.approx(1 - inner**2)
    with pytest.raises(ValueError, match="lmbda is 0 or more"):
        sources.circle_cells(-1.0)


def test_lloyds_quantizer_matches_the_optimal_one_of_a_laplacian():
    """Equal steps with a wider middle are optimal for it (Sullivan 1996)."""
    lmbda = 2.0
    samples = np.sort(sources.laplace(1).sample(40_000, seed=(0, 3)).numpy()[:, 0])

    def cost(parameters):
        middle, step = np.exp(parameters)
        cell = np.where(np.abs(samples) < middle, 0, np.ceil((np.abs(samples) - middle) / step))
        cell = (np.sign(samples) * cell).astype(int)
        index = np.unique(cell, return_inverse=True)[1]
        count = np.bincount(index)
        mean = np.bincount(index, samples) / count
        bits = -np.sum(count / len(samples) * np.log2(count / len(samples)))
        return bits + lmbda * np.mean(np.square(samples - mean[index]))

    best = optimize.minimize(cost, [0.0, 0.0], method="Nelder-Mead").fun
    result = sources.lloyd(samples[:, None], 60, lmbda).coded(samples[:, None])
    assert float(tf.reduce_mean(result.rate + lmbda * result.distortion)) == pytest.approx(
        best, abs=0.01
    )


def test_the_transform_of_a_normal_source_is_a_quarter_bit_above_its_bound():
    """At high rates, uniform quantizers lose ½ log2(πe/6) = 0.2546 bits per number."""
    deviations = np.array([4.0, 1.0, 2.0], np.float32)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    samples = (np.random.default_rng(1).normal(size=(20_000, 3)) * deviations) @ turn.T
    samples = samples.astype(np.float32)

    class Normal:
        def sample(self, count, seed):
            chosen = tf.random.stateless_uniform([count], seed, 0, len(samples), tf.int32)
            return tf.gather(tf.constant(samples), chosen)

    code = minimized(sources.klt(samples, 3, 30.0), Normal(), 600, rate=2e-2)
    result = sources.measured(code, samples)
    bound = sources.water_filling(deviations**2, result.distortion)
    assert 0.2 < (result.coded - bound) / 3 < 0.32


@pytest.mark.exhaustive
def test_a_network_of_gains_has_a_rate_for_every_lambda():
    tf.keras.utils.set_random_seed(1)
    code = minimized(networks(lmbda=(1.0, 32.0), hidden=(30, 30)), sources.banana(), 400)
    result = [sources.measured(code, BANANA[:4000], lmbda) for lmbda in (1.0, 5.0, 32.0)]
    assert result[0].bits + 0.5 < result[1].bits < result[2].bits - 0.5
    assert result[0].distortion > result[1].distortion > result[2].distortion
    with pytest.raises(ValueError, match="lmbda is from 1 to 32: 64"):
        code.coded(tf.constant(BANANA[:4]), 64.0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: networks(quantization="dither"), "quantization is one of noise"),
        (lambda: networks(lmbda=0.0), "lmbda is above 0"),
        (lambda: networks(lmbda=(4.0, 2.0)), "lmbda is above 0, or a range"),
        (lambda: networks(conditioned=True), "need a range of lambdas"),
        (lambda: networks(activation="sine"), "activation is one of"),
        (lambda: sources.klt(BANANA, 3, 8.0), "has 1 to 2 latents; got 3"),
        (lambda: sources.vector_quantizer(BANANA, 0, 8.0), "a codebook's size is 1 to 20000"),
        (lambda: sources.lloyd(BANANA, 5, 8.0, rounds=0), "rounds are 1 or more"),
        (lambda: sources.lloyd(BANANA, 5, 8.0, rounds=1).coded(BANANA, 9.0), "lmbda of 8 alone"),
    ],
)
def test_invalid_codes_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
