"""PIM as published: its filters, networks, bound and distance, and released weights."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, signal, special

from tests.conftest import cropped
from tfc_models import metrics
from tfc_models.metrics.pim import LEARNED
from tfc_models.perceptual import (
    Belief,
    Pim,
    PimBands,
    PimBandsConfig,
    PimConfig,
    load_pim,
    load_pim_bands,
    load_released,
)
from tfc_models.perceptual.beliefs import sampled_divergence
from tfc_models.perceptual.pim import WEIGHTS
from tfc_models.perceptual.sp1 import BinomialPyramid, Sp1Pyramid

SMALL = {"width": 4, "dimensions": 3, "components": 2}


def photo(height: int, width: int) -> tf.Tensor:
    return tf.constant(cropped(height, width)[None], tf.float32)


def test_sp1_is_a_steerable_pyramid():
    """Squared responses sum to nearly 1; the orientations are derivatives in x and y."""
    pyramid = Sp1Pyramid()
    impulse = np.zeros([1, 65, 65, 1], np.float32)
    impulse[0, 32, 32] = 1.0
    bands = [band.numpy()[0, ..., 0] for band in pyramid(tf.constant(impulse))]
    assert len(bands) == pyramid.count == 8
    assert [band.shape[0] for band in bands] == [65, 65, 65, 33, 33, 17, 17, 9]
    high, along_x, along_y = bands[:3]
    low = signal.convolve2d(impulse[0, ..., 0], pyramid._low_0, "same")
    # The low-pass filter between scales has twice the gain of a unitary one.
    rest = 0.25 * np.abs(np.fft.fft2(signal.convolve2d(low, pyramid._low, "same"))) ** 2
    power = sum(np.abs(np.fft.fft2(band)) ** 2 for band in (high, along_x, along_y)) + rest
    np.testing.assert_allclose(power, 1.0, atol=0.06)
    np.testing.assert_allclose(along_x, -along_y.T, atol=1e-7)
    ramp = tf.constant(np.tile(np.arange(33, dtype="f4")[None, None, :, None], [1, 33, 1, 1]))
    right, down = (band[0, 16, 16, 0] for band in pyramid(ramp)[1:3])
    assert abs(float(right)) > 0.3 > 1e-4 > abs(float(down))


def test_the_laplacian_variant_ignores_linear_ramps():
    y, x = np.mgrid[:40, :44].astype(np.float32)
    high, middle, low = BinomialPyramid()(tf.constant((3.0 * x - y)[None, ..., None]))
    assert [b.shape[1:3] for b in (high, middle, low)] == [[36, 40], [15, 17], [9, 10]]
    np.testing.assert_allclose(high, 0.0, atol=1e-4)
    np.testing.assert_allclose(middle, 0.0, atol=1e-4)
    assert float(low[0, 0, 1, 0] - low[0, 0, 0, 0]) == pytest.approx(12.0)


def test_the_architecture_is_the_published_one():
    shapes = {name: v.shape.as_list() for name, v in Pim().named_variables().items()}
    kernels = [shapes[f"features_7/{i}"] for i in (0, 2, 4, 6)]
    assert kernels == [[5, 5, 3, 64], [5, 5, 64, 64], [5, 5, 64, 64], [5, 5, 64, 3]]
    assert "features_8/0" not in shapes
    marginal = [shapes[f"marginal_0/{i}"] for i in range(0, 10, 2)]
    assert marginal == [[3, 50], [50, 50], [3, 5], [5, 5], [5, 5]]
    joint = [shapes[f"joint_0/{i}"] for i in range(0, 12, 2)]
    assert joint == [[3, 10], [10, 10]] + [[3, 10]] * 4
    paper = Pim(PimConfig(width=2, hidden=100)).named_variables()
    assert [paper[f"marginal_0/{i}"].shape for i in (0, 2, 4)] == [[3, 100], [100, 100], [100, 50]]


def test_means_are_nonnegative_as_in_the_released_code_but_not_in_the_paper():
    tf.keras.utils.set_random_seed(0)
    least = {}
    for hidden in (0, 20):
        model = Pim(PimConfig(hidden=hidden, **SMALL))
        beliefs = model.marginal(model.features(photo(32, 32)))
        least[hidden] = min(float(tf.reduce_min(b.means)) for b in beliefs)
    assert least[0] == 0.0 > least[20]


def test_training_may_encode_the_middle_of_each_band_alone():
    model = Pim(PimConfig(**SMALL))
    model.speed_up("off", 8)
    assert [f.shape[1] for f in model.features(photo(40, 40))] == [8, 8, 8, 8, 8, 8, 8, 5]


def test_the_bound_averages_densities_over_places_and_bands():
    """Compares with NumPy; all bands share one p̂, the mean of p(z|x, y) over the batch."""
    tf.keras.utils.set_random_seed(1)
    model = Pim(PimConfig(frontend="laplacian", **SMALL))
    x = np.stack([cropped(64, 64)[i : i + 32, j : j + 32] for i, j in np.ndindex(2, 2)])
    y, seed = x[:, ::-1].copy(), tf.constant([3, 128], tf.int64)
    first, second = model.features(x), model.features(y)
    alone, joint = np.zeros(4), np.zeros([4, 4])
    for band, mean in enumerate(model.joint(first, second)):
        noise = tf.random.stateless_normal(mean.shape, seed + tf.constant([0, band], tf.int64))
        mean, z = mean.numpy(), mean.numpy() + noise.numpy()

        def normal(z: np.ndarray, mean: np.ndarray) -> np.ndarray:
            return -0.5 * np.sum((z - mean) ** 2 + math.log(math.tau), -1)

        for features in (first, second):
            q = model.marginal(features)[band]
            logs = special.log_softmax(q.logits.numpy(), -1)
            logs = logs + normal(z[..., None, :], q.means.numpy())
            alone += special.logsumexp(logs, -1).mean((1, 2)) / 3
        alone -= normal(z, mean).mean((1, 2)) / 3
        joint += np.array([[normal(a, b).mean() for b in mean] for a in z]) / 3
    expected = alone - (special.logsumexp(joint, axis=1) - math.log(4))
    np.testing.assert_allclose(model.bound(x, y, seed), expected, atol=1e-3)


def belief(means: list[float], logits: list[float], places: int = 1) -> Belief:
    means, logits = (np.tile(np.array(v, "f4"), [1, places, 1, 1]) for v in (means, logits))
    return Belief(tf.constant(means[..., None]), tf.constant(logits))


def test_the_distance_of_mixtures_is_the_symmetrized_divergence():
    p, q = ([-1.0, 2.0], [0.3, -0.2]), ([0.5, 2.5], [0.0, 1.0])

    def density(b: tuple[list[float], list[float]], z: float) -> float:
        return float(special.softmax(b[1]) @ np.exp(-0.5 * (z - np.array(b[0])) ** 2))

    def integrand(z: float) -> float:
        a, b = density(p, z), density(q, z)
        return (a - b) * math.log(a / b) / math.sqrt(math.tau)

    expected = integrate.quad(integrand, -12, 12, limit=200)[0]
    one, other = belief(*p, places=4000), belief(*q, places=4000)
    result = float(tf.reduce_mean(sampled_divergence(one, other, samples=4)))
    assert result == pytest.approx(expected, rel=0.05)
    np.testing.assert_array_equal(
        sampled_divergence(one, other, 1, 2), sampled_divergence(other, one, 1, 2)
    )
    assert not np.any(sampled_divergence(one, one, 2))
    # The gradient of a logit, compared with differences of the integral.
    logits = tf.Variable(one.logits)
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(sampled_divergence(Belief(one.means, logits), other, samples=16))
    slope = float(tf.reduce_sum(tape.gradient(value, logits)[..., 0]))
    sides = []
    for step in (-0.05, 0.05):
        p = ([-1.0, 2.0], [0.3 + step, -0.2])
        sides.append(integrate.quad(integrand, -12, 12, limit=200)[0])
    assert slope == pytest.approx((sides[1] - sides[0]) / 0.1, rel=0.1)


def test_a_single_gaussian_s_distance_is_the_mean_squared_difference_of_means():
    tf.keras.utils.set_random_seed(0)
    model = Pim(PimConfig(width=4, components=1))
    a, b = photo(40, 48), photo(40, 48)[:, ::-1]
    means = [[q.means.numpy() for q in model.marginal(model.features(x))] for x in (a, b)]
    expected = np.mean([np.mean((p - q) ** 2) for p, q in zip(*means)])
    assert float(model.distance(a, b)[0]) == pytest.approx(expected, rel=1e-5)


def test_the_shipped_weights_are_a_metric():
    assert WEIGHTS.stat().st_size <= 3 * 2**20
    assert load_pim().settings == PimConfig()
    a, noise = photo(61, 70), tf.random.stateless_normal([1, 61, 70, 3], [1, 2])
    b, c = a + 4.0 * noise, a + 16.0 * noise
    assert float(metrics.pim(a, a)[0]) == 0.0
    assert 0.0 < float(metrics.pim(a, b)[0]) < float(metrics.pim(a, c)[0])
    np.testing.assert_array_equal(metrics.pim(a, b), metrics.pim(b, a))
    two = metrics.pim(tf.concat([a, a], 0), tf.concat([b, c], 0))
    np.testing.assert_allclose(two, [*metrics.pim(a, b), *metrics.pim(a, c)], rtol=1e-3)
    with tf.GradientTape() as tape:
        tape.watch(b)
        distance = metrics.pim(a, b)
    gradient = tape.gradient(distance, b)
    assert np.isfinite(gradient).all() and np.any(gradient)


def test_weights_are_saved_and_restored_and_their_kinds_distinguished(tmp_path):
    """Files of pim are refused as pim-bands, and vice versa."""
    tf.keras.utils.set_random_seed(0)
    model, bands = Pim(PimConfig(**SMALL)), PimBands(PimBandsConfig(width=2, hidden=3))
    model.save_npz(tmp_path / "pim.npz")
    bands.save_npz(tmp_path / "bands.npz")
    again = load_pim(tmp_path / "pim.npz")
    assert again.settings == model.settings
    a, b = photo(40, 40), photo(40, 40)[:, :, ::-1]
    np.testing.assert_allclose(again.distance(a, b), model.distance(a, b), rtol=0.05)
    with pytest.raises(ValueError, match="holds weights of pim-bands, not of pim: use it as pim-b"):
        load_pim(tmp_path / "bands.npz")
    with pytest.raises(ValueError, match="holds weights of pim, not of pim-bands: use it as pim"):
        load_pim_bands(tmp_path / "pim.npz")
    with pytest.raises(ValueError, match="holds weights of pim-bands, not of pim"):
        metrics.named("pim", LEARNED["pim-bands"].weights)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"frontend": "wavelet"}, "frontend is one of steerable, laplacian"),
        ({"components": 0}, "components is a whole number, 1 or more"),
        ({"hidden": -1}, "hidden is a whole number, 0 or more"),
        ({"width": 2.5}, "width is a whole number, 1 or more"),
    ],
)
def test_invalid_configurations_are_refused(config, says):
    with pytest.raises(ValueError, match=says):
        PimConfig(**config)


class Encoder(tf.keras.layers.Layer):
    """Encoder with the attribute names of released checkpoints."""

    def __init__(self, mixtures: int, joint: bool) -> None:
        super().__init__()
        dense, size = tf.keras.layers.Dense, 10 * mixtures
        self.base = [dense(size, tf.nn.relu) for _ in range(2)]
        if joint:
            self.base_cond_mul = [dense(size) for _ in range(2)]
            self.base_cond_add = [dense(size) for _ in range(2)]
        if mixtures > 1:
            self.mix = [dense(mixtures, tf.nn.relu) for _ in range(2)]
            self.logit_layer = dense(mixtures)

    def call(self, x: tf.Tensor, y: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor | None]:
        maps, logits = x, None
        for i in range(2):
            maps = self.base[i](maps)
            if y is not None:
                maps = maps * self.base_cond_mul[i](y) + self.base_cond_add[i](y)
        if hasattr(self, "mix"):
            logits = self.logit_layer(self.mix[1](self.mix[0](x)))
        return maps, logits


class Holder(tf.keras.layers.Layer):
    """Named parts of a released checkpoint."""


class Released(tf.keras.Model):
    """Structure of a released checkpoint with random weights, coarsest band first."""

    def __init__(self, mixtures: int, bands: int) -> None:
        super().__init__()
        conv = tf.keras.layers.Conv2D
        self.frontend, self.marginal_encoder, self.joint_encoder = (Holder() for _ in range(3))
        self.frontend.cnns = [
            tf.keras.Sequential(
                [conv(4, 5, padding="same", activation="relu") for _ in range(3)]
                + [conv(3, 5, padding="same")]
            )
            for _ in range(bands)
        ]
        self.marginal_encoder.encoders = [Encoder(mixtures, False) for _ in range(bands)]
        self.joint_encoder.encoders = [Encoder(1, True) for _ in range(bands)]


@pytest.mark.parametrize(("mixtures", "kind"), [(5, "Steerable"), (1, "Laplacian")])
def test_released_weights_are_read(tmp_path, mixtures, kind):
    tf.keras.utils.set_random_seed(0)
    pyramid = Sp1Pyramid() if kind == "Steerable" else BinomialPyramid()
    reference = Released(mixtures, pyramid.count)
    x, y = photo(40, 48), photo(40, 48)[:, ::-1]
    expected = []
    for i, bands in enumerate(zip(*(pyramid(p / 255.0)[::-1] for p in (x, y)))):
        first, second = (reference.frontend.cnns[i](band) for band in bands)
        alone = reference.marginal_encoder.encoders[i](first)
        expected.append((*alone, reference.joint_encoder.encoders[i](first, second)[0]))
    reference.save_weights(tmp_path / "weights", save_format="tf")
    settings = {"multiscale": kind, "nscales": 3, "num_filters": [4, 4, 4, 3], "padding": "same"}
    settings |= {"num_marginal_encoder_mixtures": mixtures, "z_dim": 10, "cnn": "Conv"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    model = load_pim(tmp_path)
    first, second = model.features(x), model.features(y)
    result = zip(model.marginal(first), model.joint(first, second))
    for (q, joint), (means, logits, together) in zip(result, expected[::-1]):
        np.testing.assert_allclose(tf.reshape(q.means, means.shape), means, atol=1e-5)
        np.testing.assert_allclose(joint, together, atol=1e-5)
        if logits is not None:
            np.testing.assert_allclose(q.logits, logits, atol=1e-5)
    if mixtures == 1:
        for change, says in (
            ({"nscales": 4}, "nscales = 4, which is not implemented"),
            ({"num_filters": [4, 4, 3]}, r"num_filters = \[4, 4, 3\]"),
            ({"num_filters": [5, 5, 5, 3]}, "holds no released PIM"),
            ({"z_dim": None}, "dimensions is a whole number"),
        ):
            (tmp_path / "config.json").write_text(json.dumps({**settings, **change}))
            with pytest.raises(ValueError, match=says):
                load_released(tmp_path)
        (tmp_path / "config.json").unlink()
        with pytest.raises(FileNotFoundError, match=r"config\.json.*is missing"):
            load_released(tmp_path)
