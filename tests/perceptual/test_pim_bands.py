"""PIM-bands: pyramids, divergence, bound and the shipped metric."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, special

from tests.conftest import ROOT, cropped
from tfc_models import metrics, models, zoo
from tfc_models.metrics import LPIPS_VARIABLE, PIM_BANDS_VARIABLE
from tfc_models.models.distortion import parsed
from tfc_models.perceptual import (
    PIM_MIN_SIDE,
    Belief,
    PimBands,
    PimBandsConfig,
    divergence,
    load_pim_bands,
)
from tfc_models.perceptual.pim_bands import WEIGHTS, blurred_difference
from tfc_models.perceptual.pyramids import PYRAMIDS, inside, mirrored, pyramid_of
from tfc_models.zoo import files

SMALL = {"width": 4, "hidden": 6, "dimensions": 3}


def photo(height: int, width: int) -> tf.Tensor:
    return tf.constant(cropped(height, width)[None], tf.float32)


@pytest.mark.parametrize("size", [(64, 64), (57, 83), (200, 31)])
@pytest.mark.parametrize("name", PYRAMIDS)
def test_pyramids_reconstruct_their_input(name, size):
    pyramid, images = pyramid_of(name), mirrored(photo(*size) / 255.0)
    bands = pyramid(images)
    assert len(bands) == len(pyramid.sides)
    np.testing.assert_allclose(pyramid.inverse(bands), images, atol=1e-4)
    for band, side in zip(inside(bands, pyramid, photo(*size)), pyramid.sides):
        assert band.shape[1:3] == [-(-s // side) for s in size]


def test_the_steerable_pyramid_separates_scales_and_orientations():
    """A grating in x with a period of 8 samples responds in the second octave, orientation x."""
    wave = np.sin(2.0 * np.pi * np.arange(64) / 8)[None, None, :, None]
    across_x = np.tile(wave, [1, 64, 1, 1]).astype(np.float32)
    across_y = np.transpose(across_x, [0, 2, 1, 3])
    for grating, place in ((across_x, 3), (across_y, 4)):
        bands = pyramid_of("steerable")(tf.constant(grating))
        energy = np.array([float(tf.reduce_mean(tf.square(band))) for band in bands])
        assert energy[place] == pytest.approx(0.5, rel=1e-3)
        assert np.delete(energy, place).max() < 1e-6


def belief(means: list[float], logits: list[float]) -> Belief:
    shape = [1, 1, 1, len(means)]
    return Belief(
        tf.reshape(tf.constant(means), [*shape, 1]), tf.reshape(tf.constant(logits), shape)
    )


def integrated(p: Belief, q: Belief) -> float:
    """Returns ½ ∫ (p − q) log (p / q) by quadrature."""

    def density(b: Belief, z: float) -> float:
        weights = special.softmax(np.ravel(b.logits))
        means = np.ravel(b.means).astype(np.float64)
        return float(weights @ np.exp(-0.5 * (z - means) ** 2)) / math.sqrt(math.tau)

    def integrand(z: float) -> float:
        a, b = density(p, z), density(q, z)
        return 0.5 * (a - b) * math.log(a / b)

    return integrate.quad(integrand, -15, 15, limit=200)[0]


def test_the_divergence_of_mixtures_is_the_integral():
    p, q = belief([-1.0, 2.0], [0.3, -0.2]), belief([0.5, 2.5], [0.0, 1.0])
    expected = integrated(p, q)
    estimate = float(divergence(p, q, samples=4000)[0, 0, 0])
    assert estimate == pytest.approx(expected, rel=0.05)
    assert float(divergence(q, p, samples=4000)[0, 0, 0]) == pytest.approx(expected, rel=0.05)


def test_few_samples_suffice_for_the_divergence_of_many_positions():
    """Positions have independent samples, so errors average out."""
    draw = np.random.default_rng(0)
    means = draw.normal(size=[1, 20, 20, 5, 10]).astype(np.float32)
    logits = tf.zeros([1, 20, 20, 5])
    p, q = Belief(tf.constant(means), logits), Belief(tf.constant(means + 0.3), logits)
    few, many = (float(tf.reduce_mean(divergence(p, q, samples))) for samples in (8, 256))
    assert few == pytest.approx(many, rel=0.1)


def test_the_divergence_of_gaussians_is_half_a_square():
    p, q = belief([1.0], [0.0]), belief([3.5], [0.0])
    assert float(divergence(p, q)[0, 0, 0]) == pytest.approx(0.5 * 2.5**2)
    assert integrated(p, q) == pytest.approx(0.5 * 2.5**2, rel=1e-5)


@pytest.mark.parametrize("components", [1, 3])
def test_the_divergence_is_seeded_and_nonnegative(components):
    draw = np.random.default_rng(0)

    def some() -> Belief:
        means = draw.normal(size=[2, 5, 5, components, 4]).astype(np.float32)
        return Belief(
            tf.constant(means), tf.constant(draw.normal(size=means.shape[:-1]).astype("f4"))
        )

    p, q = some(), some()
    values = divergence(p, q, samples=2).numpy()
    assert (values > 0).all()
    np.testing.assert_array_equal(values, divergence(p, q, samples=2))
    np.testing.assert_array_equal(divergence(p, p, samples=2), np.zeros([2, 5, 5]))


@pytest.mark.parametrize(
    ("frontend", "by_band", "components"), [("steerable", True, 1), ("laplacian", False, 2)]
)
def test_the_bound_equals_its_formula(frontend, by_band, components):
    """Compares with NumPy; the bound is at most the log of the number of pairs."""
    tf.keras.utils.set_random_seed(1)
    config = PimBandsConfig(frontend=frontend, components=components, by_band=by_band, **SMALL)
    model = PimBands(config)
    images = np.stack([cropped(64, 64)[i : i + 32, j : j + 32] for i, j in np.ndindex(2, 2)])
    x, y = tf.constant(images), tf.constant(images[:, ::-1].copy())
    seed = tf.constant([3, 128], tf.int64)
    bound = model.bound(x, y, seed).numpy()
    first, second = model.features(x), model.features(y)
    means = [m.numpy().astype(np.float64) for m in model.joint(first, second)]
    terms = []
    for band, (mean, q_x, q_y) in enumerate(
        zip(means, model.marginal(first), model.marginal(second))
    ):
        noise = tf.random.stateless_normal(mean.shape, seed + tf.constant([0, band], tf.int64))
        z = mean + noise.numpy()
        dimensions = z.shape[-1]

        def gaussian(z: np.ndarray, mean: np.ndarray, d: int = dimensions) -> np.ndarray:
            return -0.5 * np.sum((z - mean) ** 2, -1) - 0.5 * d * math.log(2 * math.pi)

        def mixture(z: np.ndarray, q: Belief, own=gaussian) -> np.ndarray:
            logs = special.log_softmax(q.logits.numpy().astype(np.float64), -1)
            return special.logsumexp(logs + own(z[..., None, :], q.means.numpy()), -1)

        alone = mixture(z, q_x) + mixture(z, q_y) - gaussian(z, mean)
        crossed = [[gaussian(z[i], mean[k]).mean() for k in range(4)] for i in range(4)]
        terms.append((alone.mean((1, 2)), np.array(crossed)))
    crossed = np.stack([c for _, c in terms])
    crossed = crossed if by_band else crossed.mean(0, keepdims=True)
    marginal = special.logsumexp(crossed, axis=2).mean(0) - math.log(4)
    np.testing.assert_allclose(bound, np.mean([a for a, _ in terms], 0) - marginal, atol=1e-3)
    assert bound.mean() < math.log(4)


def test_without_conditioning_the_second_image_is_not_read():
    tf.keras.utils.set_random_seed(0)
    x, y, z = photo(32, 32), photo(32, 32)[:, ::-1], 0.5 * photo(32, 32)
    for conditioned in (True, False):
        model = PimBands(PimBandsConfig(conditioned=conditioned, **SMALL))
        first = model.features(x)
        actual = [model.joint(first, model.features(other)) for other in (y, z)]
        equal = all(np.array_equal(a, b) for a, b in zip(*actual))
        assert equal == (not conditioned)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"frontend": "wavelet"}, "frontend is one of steerable, laplacian"),
        ({"components": 0}, "components is a whole number from 1 on"),
        ({"width": 2.5}, "width is a whole number from 1 on"),
        ({"conditioned": "no"}, "conditioned is True or False"),
        ({"blur": -1.0}, "blur is a number from 0 on"),
    ],
)
def test_invalid_configurations_are_refused(config, says):
    with pytest.raises(ValueError, match=says):
        PimBandsConfig(**config)


def test_blurred_bands_have_the_divergence_of_laplacians():
    for apart, blur in ((0.3, 0.5), (2.0, 0.5), (0.01, 3.0)):

        def integrand(x: float, apart: float = apart, blur: float = blur) -> float:
            p, q = (math.exp(-abs(x - m) / blur) / (2 * blur) for m in (0.0, apart))
            return 0.5 * (p - q) * math.log(p / q)

        edges = [-30 * blur, 0.0, apart, apart + 30 * blur]
        expected = sum(integrate.quad(integrand, a, b)[0] for a, b in zip(edges, edges[1:]))
        result = blurred_difference(tf.zeros([1, 2]), tf.constant([[apart, 0.0]]), blur)
        assert float(result[0]) == pytest.approx(expected, rel=2e-3)


def test_what_networks_do_not_see_costs_as_well():
    """For any weights, the distance is 0 only at equality and its gradient leads there."""
    image = tf.constant(cropped(40, 40)[None], tf.float32)
    other = tf.Variable(image + 3.0 * tf.cast(photo(40, 40)[:, ::-1] > 128, tf.float32))
    costs = {}
    for blur in (0.0, 0.5):
        model = PimBands(PimBandsConfig(blur=blur, **SMALL))
        for variable in model.variables:
            variable.assign(tf.zeros_like(variable))
        with tf.GradientTape() as tape:
            distance = model.distance(image, other)
        costs[blur] = float(distance[0])
        gradient = tape.gradient(distance, other)
        assert float(model.distance(image, image)[0]) == 0.0
        if blur:
            step = 1e-3 / tf.norm(gradient) * tf.norm(other - image)
            assert float(model.distance(image, other - step * gradient)[0]) < costs[blur]
    assert costs[0.0] == 0.0 < costs[0.5]


def test_weights_are_saved_and_restored(tmp_path):
    model = PimBands(PimBandsConfig(components=2, **SMALL))
    model.save_npz(tmp_path / "pim.npz")
    again = load_pim_bands(tmp_path / "pim.npz")
    assert again.settings == model.settings
    a, b = photo(40, 40), photo(40, 40)[:, :, ::-1]
    np.testing.assert_allclose(again.distance(a, b), model.distance(a, b), rtol=1e-2)
    assert list(tmp_path.iterdir()) == [tmp_path / "pim.npz"]


def test_files_of_the_first_format_keep_their_blur(tmp_path):
    PimBands(PimBandsConfig(frontend="laplacian", blur=0.0, **SMALL)).save_npz(tmp_path / "pim.npz")
    assert load_pim_bands(tmp_path / "pim.npz").settings.blur == 0.0
    assert load_pim_bands(tmp_path / "pim.npz", blur=0.2).settings.blur == 0.2
    arrays = dict(np.load(tmp_path / "pim.npz"))
    meta = json.loads(str(arrays["__meta__"]))
    del meta["pim"]["blur"]
    for number in (1, 4):
        arrays["__meta__"] = np.array(json.dumps({**meta, "format": number}))
        np.savez(tmp_path / f"{number}.npz", **arrays)
    assert load_pim_bands(tmp_path / "1.npz").settings.blur == 0.5
    with pytest.raises(ValueError, match=r"is not a file of pim-bands weights: of format 4"):
        load_pim_bands(tmp_path / "4.npz")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda arrays: arrays.pop("joint_0/0"), "is not a file of pim-bands weights: 'joint_0/0'"),
        (lambda arrays: arrays.pop("__meta__"), "is not a file of pim-bands weights"),
        (
            lambda arrays: arrays.update(__meta__=np.array(json.dumps({"format": 1, "pim": {}}))),
            "is not a file of pim-bands weights",
        ),
    ],
)
def test_damaged_weights_are_refused(tmp_path, change, says):
    path = tmp_path / "pim.npz"
    PimBands(PimBandsConfig(**SMALL)).save_npz(path)
    with np.load(path) as arrays:
        arrays = dict(arrays)
    change(arrays)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=says):
        load_pim_bands(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="not a file of weights"):
        load_pim_bands(path)


def test_shipped_weights_are_small_and_form_a_metric():
    assert WEIGHTS.stat().st_size <= 4 * 2**20
    a, noise = photo(61, 70), tf.random.stateless_normal([1, 61, 70, 3], [1, 2])
    b, c = a + 4.0 * noise, a + 16.0 * noise
    assert float(metrics.pim_bands(a, a)[0]) == 0.0
    assert 0.0 < float(metrics.pim_bands(a, b)[0]) < float(metrics.pim_bands(a, c)[0])
    np.testing.assert_allclose(metrics.pim_bands(a, b), metrics.pim_bands(b, a), rtol=1e-5)
    two = metrics.pim_bands(tf.concat([a, a], 0), tf.concat([b, c], 0))
    np.testing.assert_allclose(two, [*metrics.pim_bands(a, b), *metrics.pim_bands(a, c)], rtol=1e-4)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(b)
        here, there = metrics.pim_bands(a, b), metrics.pim_bands(b, b)
    assert float(tf.reduce_max(tf.abs(tape.gradient(here, b)))) > 0
    assert np.isfinite(tape.gradient(there, b)).all()


def test_the_smallest_changes_have_a_positive_distance():
    a = photo(64, 64).numpy()
    pixel, level, channel, checks = (a.copy() for _ in range(4))
    pixel[0, 30, 30] += 1.0
    level += 1.0
    channel[..., 2] += 1.0
    checks[:, ::2, ::2] += 1.0
    for b in (pixel, level, channel, checks):
        assert float(metrics.pim_bands(a, b)[0]) > 0.0


@pytest.mark.exhaustive
def test_replicas_compute_equal_distances():
    """A separate process, because virtual devices are configured before TensorFlow starts."""
    code = """
import tensorflow as tf
devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
from tfc_models import models
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = models.build("bls2017", channels=8, latents=8, distortion="mse + 4*pim-bands")
    model.compile()
x = tf.random.stateless_uniform([1, 32, 32, 3], [1, 2], 0.0, 255.0)
losses = strategy.run(lambda: model.losses_of(x, training=False))
print(*(float(v) for v in strategy.experimental_local_results(losses["pim-bands"])))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = map(float, done.stdout.split())
    assert first == pytest.approx(second, rel=1e-4) and first > 0


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("mse", {"mse": 1.0}),
        ("mse+40*pim-bands", {"mse": 1.0, "pim-bands": 40.0}),
        (" 0.5 * mse + 2.5e+2*lpips + 1e-3*nlpd", {"mse": 0.5, "lpips": 250.0, "nlpd": 1e-3}),
    ],
)
def test_sums_of_distortions_are_read(text, terms):
    assert parsed(text) == terms


@pytest.mark.parametrize(
    "text", ["", "psnr", "mse+mse", "mse+", "0*mse", "1.2.3*pim-bands", "2 mse", 3]
)
def test_invalid_distortions_are_refused(text):
    with pytest.raises(ValueError, match="distortion is one of mse, ssim"):
        parsed(text)


def test_a_loss_is_the_sum_of_its_distortions():
    tf.keras.utils.set_random_seed(0)
    model = models.build(
        "bls2017", channels=8, latents=8, lmbda=0.5, distortion="0.01*mse+3*pim-bands+2*nlpd"
    )
    losses = model.losses_of(photo(80, 80), training=False)
    parts = 0.01 * losses["mse"] + 3.0 * losses["pim-bands"] + 2.0 * losses["nlpd"]
    assert float(losses["loss"]) == pytest.approx(float(losses["bpp"] + 0.5 * parts), rel=1e-5)


@pytest.mark.parametrize("side", [PIM_MIN_SIDE, 25, 31])
def test_the_smallest_images(side):
    a = photo(side, side)
    assert float(metrics.pim_bands(a, 0.9 * a)[0]) > 0
    with pytest.raises(ValueError, match=f"PIM-bands needs at least {PIM_MIN_SIDE}×{PIM_MIN_SIDE}"):
        metrics.pim_bands(a[:, : PIM_MIN_SIDE - 1], a[:, : PIM_MIN_SIDE - 1])


def test_a_codec_that_was_trained_for_pim_decodes_without_it(tmp_path, monkeypatch):
    monkeypatch.setenv(PIM_BANDS_VARIABLE, str(tmp_path / "gone.npz"))
    model = models.build("bls2017", channels=8, latents=8, distortion="mse+pim-bands+lpips")
    files.save(model, tmp_path / "weights.npz")
    zoo.build_model(files.read(tmp_path / "weights.npz"))
    monkeypatch.delenv(LPIPS_VARIABLE, raising=False)
    with pytest.raises(OSError, match="gone"):
        model.compile()
    monkeypatch.delenv(PIM_BANDS_VARIABLE)
    with pytest.raises(ValueError, match="LPIPS needs its weights"):
        model.compile()
