"""Distortion metrics, and losses that use them."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import peak_signal_noise_ratio

from tests.conftest import SMALL, cropped
from tfc_models import evaluation, images, metrics, models
from tfc_models.metrics import pairs
from tfc_models.models.distortion import default_lambda, parsed, squared_error_lambda
from tfc_models.training import configs
from tfc_models.training.linear_start import linear_start, quantization_step


def pair(side: int = 192) -> tuple[np.ndarray, np.ndarray]:
    image = cropped(side, side)
    noise = np.random.default_rng(0).normal(0, 8, image.shape)
    return image, np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def test_psnr_equals_scikit_images():
    a, b = pair()
    expected = peak_signal_noise_ratio(a, b, data_range=255)
    np.testing.assert_allclose(metrics.psnr(a[None], b[None]), [expected], rtol=1e-5)
    assert np.isinf(metrics.psnr(a[None], a[None])[0])


def test_ms_ssim_is_one_at_equality_and_falls_with_noise():
    a, b = pair()
    values = metrics.ms_ssim(np.stack([a, a]), np.stack([a, b])).numpy()
    assert values[0] == pytest.approx(1.0, abs=1e-6)
    assert 0.8 < values[1] < 0.999
    assert float(metrics.decibels(0.99)) == pytest.approx(20.0, abs=1e-3)


@pytest.mark.parametrize("size", [(192, 192), (203, 301)])
def test_ms_ssim_and_its_gradient_equal_tensorflows(size):
    a = tf.constant(cropped(*size)[None], tf.float32)
    b = a + 20.0 * tf.random.stateless_normal(a.shape, [1, 2])

    def with_gradient(function):
        with tf.GradientTape() as tape:
            tape.watch(b)
            value = function(a, b)
        return value, tape.gradient(value, b)

    actual = with_gradient(metrics.ms_ssim)
    expected = with_gradient(lambda a, b: tf.image.ssim_multiscale(a, b, 255.0))
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(actual[1], expected[1], atol=1e-3 * np.abs(expected[1]).max())


def test_the_error_of_ms_ssim_states_the_smallest_size():
    small = np.zeros([1, 175, 300, 3], np.uint8)
    with pytest.raises(ValueError, match="MS-SSIM needs at least 176×176 pixels; got 175×300"):
        metrics.ms_ssim(small, small)
    unknown = tf.function(metrics.ms_ssim, input_signature=[tf.TensorSpec([1, None, None, 3])] * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least 176"):
        unknown(tf.cast(small, tf.float32), tf.cast(small, tf.float32))


@pytest.mark.parametrize("distortion", ["mse", "ms-ssim"])
def test_the_loss_is_bits_per_pixel_plus_lambda_times_the_distortion(distortion):
    name = "mbt2018-mean"
    model = models.build(name, **SMALL[name], distortion=distortion, lmbda=3.0)
    batch = tf.constant(cropped(192, 200)[None], tf.float32)
    losses = model.losses_of(batch, training=False)
    output = model(batch, training=False)
    bpp = sum(float(bits[0]) for bits in output.bits.values()) / (192 * 200)
    distance = metrics.METRICS[distortion].distance
    expected = float(distance(batch, output.reconstruction)[0])
    assert float(losses["bpp"]) == pytest.approx(bpp, rel=1e-5)
    assert float(losses[distortion]) == pytest.approx(expected, rel=1e-4)
    assert float(losses["loss"]) == pytest.approx(bpp + 3.0 * expected, rel=1e-4)


def test_an_unknown_distortion_lists_the_known_ones():
    with pytest.raises(ValueError, match="mse, ssim, ms-ssim"):
        models.build("bls2017", **SMALL["bls2017"], distortion="beauty")


@pytest.mark.parametrize("name", ["mbt2018-mean", "gained-stem4"])
def test_every_distortion_has_its_own_default_lambda_and_linear_start(name):
    """MS-SSIM at CompressAI's λ of 16.64 starts with the step size of squared error at 0.0130."""
    steps = {}
    for distortion, lmbda in (("mse", 0.0130), ("ms-ssim", 16.64)):
        model = models.build(name, **SMALL[name], distortion=distortion, lmbda=lmbda)
        linear_start(model, np.stack([cropped(64, 64)] * 4))
        # Latents are coefficients of an orthonormal transform divided by the step size.
        x = np.full([1, 64, 64, 3], 127.5, np.float32)
        x[0, :, 32:] += 40.0
        steps[distortion] = float(np.linalg.norm(x - 127.5)) / float(
            np.linalg.norm(model.to_latents(x))
        )
    assert steps["ms-ssim"] == pytest.approx(steps["mse"], rel=0.02)
    assert steps["ms-ssim"] == pytest.approx(quantization_step(0.0130), rel=0.3)
    default = models.build(name, **SMALL[name], distortion="ms-ssim")
    assert default.lmbda == pytest.approx(12.8, rel=0.1)
    assert default.config["lmbda"] == default.lmbda
    assert models.build(name, **SMALL[name]).lmbda == 0.01


def test_a_distortion_without_a_known_scale_needs_a_lambda():
    with pytest.raises(ValueError, match=r"semantic has no default lambda.*give lmbda"):
        models.build("bls2017", **SMALL["bls2017"], distortion="semantic")
    with pytest.raises(ValueError, match="semantic has no default lambda"):
        models.build("bls2017", **SMALL["bls2017"], distortion="mse + 2*semantic")
    assert models.build("bls2017", **SMALL["bls2017"], distortion="semantic", lmbda=1.0).lmbda == 1


@pytest.mark.parametrize("path", configs.names().values(), ids=lambda path: path.stem)
def test_configs_use_the_default_lambda_of_the_distortion(path):
    """Except configs that state the publication's."""
    config = runpy.run_path(str(path))["CONFIG"]
    if config.model in models.names() and "distortion" not in config.arguments:
        assert "lmbda" not in config.arguments or path.stem.startswith(("hific", "kirmemis2020"))


def test_default_lambdas_of_sums_spend_about_as_much_rate_as_squared_error():
    for text in ("mse", "ms-ssim", "mse + 38*pim-bands", "2*lpips", "ssim", "nlpd", "pim"):
        terms = parsed(text)
        lmbda = default_lambda(terms)
        assert squared_error_lambda(lmbda, terms) == pytest.approx(0.01)
    assert default_lambda(parsed("mse + 38*pim-bands")) == pytest.approx(0.005)


@pytest.mark.parametrize("name", ["mse", "psnr", "ms-ssim"])
def test_large_images_are_measured_strip_by_strip(monkeypatch, name):
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (1, 401, 333, 3), np.uint8)
    b = np.clip(a + rng.normal(0.0, 20.0, a.shape), 0, 255).astype(np.uint8)
    metric = metrics.METRICS[name]
    whole = float(metric.of_pair(a, b))
    monkeypatch.setattr(pairs, "LARGEST_STRIP", 333 * 40)
    assert float(metric.of_pair(a, b)) == pytest.approx(whole, rel=1e-6)


def test_metrics_of_too_small_images_are_nan():
    pair = np.zeros((2, 1, 175, 300, 3), np.uint8)
    assert np.isnan(metrics.METRICS["ms-ssim"].of_pair(*pair))
    figures = evaluation.measure(pair[0][0], evaluation.Coded(b"", pair[1][0], 0.0, 0.0))
    assert figures.ms_ssim is None and np.isinf(figures.psnr)


def test_grey_images_are_measured_as_rgb():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 180, 190), np.uint8)
    grey, colour = (
        evaluation.measure(x, evaluation.Coded(b"1234", y, 0.0, 0.0))
        for x, y in ((a, b), (images.as_rgb(a), images.as_rgb(b)))
    )
    assert grey == colour
