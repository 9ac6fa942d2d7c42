"""Metrics compared with other implementations, and their common interface."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf
from scipy import linalg, ndimage, signal
from skimage.metrics import structural_similarity

from tests.conftest import cropped
from tests.random_networks import random_network
from tfc_models import metrics
from tfc_models.cli import metric_choice
from tfc_models.perceptual import PIM_MIN_SIDE

REAL_WEIGHTS = os.environ.get(metrics.LPIPS_VARIABLE)


def distorted(*size: int, noise: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    image = cropped(*size).astype(np.float32)
    rng = np.random.default_rng(1)
    return image, np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype("f4")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of LPIPS networks with random weights."""
    folder = tmp_path_factory.mktemp("lpips")
    return {name: random_network(name, folder / f"{name}.npz") for name in metrics.BACKBONES}


def all_metrics(weights):
    """Returns functions by name, with the value at equality and the smallest side."""
    return {
        "mse": (metrics.mse, 0.0, 1),
        "psnr": (metrics.psnr, np.inf, 1),
        "ssim": (metrics.ssim, 1.0, 11),
        "ms_ssim": (metrics.ms_ssim, 1.0, metrics.MS_SSIM_MIN_SIDE),
        "nlpd": (metrics.nlpd, 0.0, metrics.NLPD_MIN_SIDE),
        "pim": (metrics.pim, 0.0, PIM_MIN_SIDE),
        "pim_bands": (metrics.pim_bands, 0.0, PIM_MIN_SIDE),
        "semantic": (
            metrics.SemanticSubstitute("alex", weights["alex"], np.linspace(0, 2, 1152)),
            0.0,
            metrics.METRICS["semantic"].min_side,
        ),
        **{
            f"lpips {name}": (metrics.Lpips(path), 0.0, metrics.BACKBONES[name].min_side)
            for name, path in weights.items()
        },
    }


NAMES = ("mse", "psnr", "ssim", "ms_ssim", "nlpd", "pim", "pim_bands", "semantic")
NAMES += ("lpips squeeze", "lpips alex", "lpips vgg")


def test_these_tests_cover_every_metric():
    assert {name.partition(" ")[0].replace("_", "-") for name in NAMES} == set(metrics.METRICS)
    assert set(metric_choice.METRICS) == set(metrics.METRICS)


@pytest.mark.parametrize("name", NAMES)
def test_all_metrics_have_the_same_interface(name, weights):
    metric, at_equality, least = all_metrics(weights)[name]
    a, b = (tf.constant(x[None]) for x in distorted(least + 12, least + 9))
    both = metric(tf.concat([a, a], 0), tf.concat([b, a], 0))
    assert both.shape == [2] and both.dtype == tf.float32
    assert float(both[1]) == pytest.approx(at_equality, abs=1e-5)
    np.testing.assert_allclose(both[0], metric(a, b)[0], rtol=1e-4)
    # Integers are accepted, and both orders.
    whole = [tf.cast(tf.round(x), tf.uint8) for x in (a, b)]
    np.testing.assert_allclose(metric(*whole), metric(*whole[::-1]), rtol=1e-4)
    for other in (b, tf.identity(a)):
        with tf.GradientTape() as tape:
            tape.watch(other)
            value = metric(a, other)
        gradient = tape.gradient(value, other)
        assert bool(tf.reduce_all(tf.math.is_finite(gradient)))
        assert (other is not b) or float(tf.norm(gradient)) > 0
    # A step along the gradient improves the metric.
    sign = -1.0 if at_equality > 0 else 1.0
    with tf.GradientTape() as tape:
        tape.watch(b)
        value = metric(a, b)
    gradient = tape.gradient(value, b)
    step = sign * gradient / tf.reduce_max(tf.abs(gradient))
    assert sign * metric(a, b - 0.5 * step)[0] < sign * value[0]
    black = tf.zeros([1, least, least, 3])
    assert float(metric(black, black)[0]) == pytest.approx(at_equality, abs=1e-5)
    if least > 1:
        with pytest.raises(ValueError, match=f"needs at least {least}×{least} pixels"):
            metric(a[:, : least - 1], b[:, : least - 1])
    with pytest.raises(ValueError, match="two batches of one shape"):
        metric(a, b[:, :-1])
    with pytest.raises(ValueError, match="takes batches, NHWC"):
        metric(a[0], b[0])
    with pytest.raises(ValueError, match="takes three channels"):
        metric(a[..., :1], b[..., :1])


def test_wrong_shapes_are_refused_inside_graphs():
    late = tf.function(metrics.mse, input_signature=[tf.TensorSpec([None, None, None, 3])] * 2)
    a, b = (tf.constant(x[None]) for x in distorted(20, 24))
    assert float(late(a, b)[0]) == pytest.approx(float(metrics.mse(a, b)[0]))
    for other in (b[:, :1, :1], tf.concat([b, b], 0)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="two batches of one shape"):
            late(a, other)


@pytest.mark.parametrize("name", ["mse", "ssim", "ms-ssim", "nlpd", "pim-bands"])
def test_distances_are_zero_at_equality_alone(name):
    distance = metrics.METRICS[name].distance
    a = cropped(180, 180)[None].astype(np.float32)
    white, one, all_of_them = np.full_like(a, 255.0), a.copy(), a + 1.0
    one[0, 90, 90, 1] += 1.0
    for same in (a, white):
        assert float(distance(same, same)[0]) == 0.0
    for b in (one, all_of_them):
        assert float(distance(a, b)[0]) > 0.0


def test_the_ms_ssim_distance_has_gradients_at_negative_similarity():
    a = tf.constant(cropped(180, 180)[None], tf.float32)
    inverted = 255.0 - a
    distance = metrics.METRICS["ms-ssim"].distance
    assert float(metrics.ms_ssim(a, inverted)[0]) < 0.05
    with tf.GradientTape() as tape:
        tape.watch(inverted)
        value = distance(a, inverted)
    gradient = tape.gradient(value, inverted)
    for channel in range(3):
        assert float(tf.norm(gradient[..., channel])) > 0.0
    step = gradient / tf.reduce_max(tf.abs(gradient))
    assert distance(a, inverted - 2.0 * step)[0] < value[0]
    # Elsewhere it is 1 − MS-SSIM.
    b = tf.constant(distorted(180, 180)[1][None])
    np.testing.assert_allclose(distance(a, b), 1.0 - metrics.ms_ssim(a, b), atol=1e-6)


@pytest.mark.parametrize("size", [(11, 11), (64, 65), (97, 130)])
def test_ssim_equals_scikit_images(size):
    a, b = distorted(*size)
    expected = structural_similarity(
        a,
        b,
        data_range=255,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    np.testing.assert_allclose(metrics.ssim(a[None], b[None]), [expected], rtol=1e-4)


def nlpd_of_one_channel(a: np.ndarray, b: np.ndarray) -> float:
    """Returns NLPD by its definition, in float64 with SciPy's filters."""
    line = np.array([0.05, 0.25, 0.4, 0.25, 0.05])
    pool = np.full([5, 5], 0.04)
    pool[1::2, 1::2] = 0.03
    pool[::2, 2] = pool[2, ::2] = 0.05

    def bands(image: np.ndarray) -> list[np.ndarray]:
        rest = (175.0 * (image.astype(np.float64) / 255.0) ** 2.4 + 5.0) ** (1 / 2.6)
        results = []
        for _ in range(5):
            wide = np.pad(rest, 4, mode="reflect")
            smooth = signal.convolve2d(wide, np.outer(line, line), "valid")
            spread = np.zeros_like(wide)
            # Every second sample, starting two before the first one of the image.
            samples = smooth[::2, ::2]
            spread[2 : 2 + 2 * samples.shape[0] : 2, 2 : 2 + 2 * samples.shape[1] : 2] = samples
            again = 4.0 * signal.convolve2d(spread, np.outer(line, line), "same")[4:-4, 4:-4]
            band = rest - again
            results.append(band / (0.17 + ndimage.correlate(np.abs(band), pool, mode="constant")))
            rest = samples[1:-1, 1:-1]
        return [*results, rest / (4.86 + np.abs(rest))]

    errors = [np.sqrt(np.mean((x - y) ** 2)) for x, y in zip(bands(a), bands(b))]
    return float(np.mean(np.power(errors, 0.6)) ** (1 / 0.6))


@pytest.mark.parametrize("size", [(65, 65), (96, 130), (101, 67)])
def test_nlpd_equals_its_definition_in_scipy(size):
    a, b = distorted(*size)
    expected = np.mean([nlpd_of_one_channel(a[..., i], b[..., i]) for i in range(3)])
    np.testing.assert_allclose(metrics.nlpd(a[None], b[None]), [expected], rtol=1e-4)


def convolved(maps: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int, pad: int):
    """Returns a convolution with ReLU of C × H × W maps, computed by SciPy for each channel."""
    maps = np.pad(maps, [(0, 0), (pad, pad), (pad, pad)])
    out = [
        sum(signal.correlate2d(m, k, "valid") for m, k in zip(maps, filters))[::stride, ::stride]
        for filters in kernel
    ]
    return np.maximum(np.stack(out) + bias[:, None, None], 0.0)


def pooled(maps: np.ndarray, size: int, ceil: bool) -> np.ndarray:
    counts = [int((np.ceil if ceil else np.floor)((n - size) / 2)) + 1 for n in maps.shape[1:]]
    rows = [
        [maps[:, 2 * y : 2 * y + size, 2 * x : 2 * x + size].max((1, 2)) for x in range(counts[1])]
        for y in range(counts[0])
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def lpips_again(name: str, path, a: np.ndarray, b: np.ndarray) -> float:
    """Returns LPIPS computed in NumPy, with the layers listed as in torchvision."""
    w = dict(np.load(path))

    def features(image: np.ndarray) -> list[np.ndarray]:
        x = image.transpose(2, 0, 1) / 127.5 - 1.0
        shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
        x = (x - shift[:, None, None]) / scale[:, None, None]
        results = []

        def conv(name, x, stride=1, pad=1):
            return convolved(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, pad)

        if name == "squeeze":
            x = conv("net.0", x, 2, 0)
            results.append(x)
            for i in range(2, 13):
                if i in (2, 5, 8):
                    x = pooled(x, 3, ceil=True)
                else:
                    s = conv(f"net.{i}.squeeze", x, 1, 0)
                    one = conv(f"net.{i}.expand1x1", s, 1, 0)
                    x = np.concatenate([one, conv(f"net.{i}.expand3x3", s)])
                    if i not in (3, 6):
                        results.append(x)
        elif name == "alex":
            for i, stride, pad in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
                if i in (3, 6):
                    x = pooled(x, 3, ceil=False)
                x = conv(f"net.{i}", x, stride, pad)
                results.append(x)
        else:
            for i, group in enumerate(((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))):
                x = x if i == 0 else pooled(x, 2, ceil=False)
                for place in group:
                    x = conv(f"net.{place}", x)
                results.append(x)
        return results

    total = 0.0
    for i, (x, y) in enumerate(zip(features(a), features(b))):
        x, y = (m / (np.sqrt((m**2).sum(0)) + 1e-10) for m in (x, y))
        total += ((x - y) ** 2 * w[f"lin{i}"][:, None, None]).sum(0).mean()
    return total


@pytest.mark.parametrize(
    ("name", "size"), [("squeeze", (17, 20)), ("squeeze", (26, 23)), ("alex", (37, 48))]
)
def test_lpips_equals_its_definition_in_numpy(name, size, weights):
    a, b = distorted(*size, noise=40.0)
    expected = lpips_again(name, weights[name], a, b)
    results = metrics.lpips(a[None], b[None], weights[name])
    np.testing.assert_allclose(results, [expected], rtol=1e-3)


def test_vgg_equals_keras_applications(weights):
    """Compares all five groups of layers with Keras' VGG-16."""
    w = dict(np.load(weights["vgg"]))
    image = cropped(48, 51).astype(np.float32)
    results = metrics.BACKBONES["vgg"].features(w, image[None])
    keras = tf.keras.applications.VGG16(include_top=False, weights=None, input_shape=(48, 51, 3))
    names = [layer.name for layer in keras.layers if "conv" in layer.name]
    kernels = sorted((k for k in w if k.endswith(".weight")), key=lambda k: int(k.split(".")[1]))
    assert len(names) == len(kernels) == 13
    for name, kernel in zip(names, kernels):
        bias = w[kernel.replace("weight", "bias")]
        keras.get_layer(name).set_weights([w[kernel].transpose(2, 3, 1, 0), bias])
    last = [f"block{i}_conv{count}" for i, count in zip(range(1, 6), (2, 2, 3, 3, 3))]
    network = tf.keras.Model(keras.input, [keras.get_layer(name).output for name in last])
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    for actual, expected in zip(results, network((image[None] / 127.5 - 1.0 - shift) / scale)):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not REAL_WEIGHTS, reason=f"{metrics.LPIPS_VARIABLE} names no weights")
@pytest.mark.parametrize(
    ("seed", "size", "expected"),
    [(0, (64, 64), 0.448539), (1, (97, 70), 0.463495), (2, (128, 131), 0.469061)],
)
def test_published_weights_give_the_values_of_the_authors_package(seed, size, expected):
    """Expected values are from lpips 0.1.4, torch 2.13 and torchvision 0.28's SqueezeNet."""
    y, x = np.mgrid[: size[0], : size[1]]
    waves = [127 + 100 * np.sin(x / 7 + y / 11 + c) * np.cos(y / (5 + c)) for c in range(3)]
    a = np.stack(waves, -1)
    b = np.clip(a + np.random.default_rng(seed).normal(0, 20, a.shape), 0, 255)
    pair = (np.round(image)[None].astype(np.float32) for image in (a, b))
    assert float(metrics.lpips(*pair, REAL_WEIGHTS)[0]) == pytest.approx(expected, abs=2e-6)


@pytest.mark.skipif(not REAL_WEIGHTS, reason=f"{metrics.LPIPS_VARIABLE} names no weights")
def test_published_weights_give_the_published_distance_of_noise():
    rng = np.random.default_rng(0)
    pairs = rng.uniform(0, 255, [2, 8, 64, 64, 3]).astype(np.float32)
    assert float(tf.reduce_mean(metrics.lpips(*pairs))) == pytest.approx(0.1, abs=0.02)


def test_weights_that_are_not_lpips_are_refused(weights, tmp_path, monkeypatch):
    monkeypatch.delenv(metrics.LPIPS_VARIABLE, raising=False)
    image = np.zeros([1, 64, 64, 3], np.float32)
    with pytest.raises(ValueError, match="set TFC_MODELS_LPIPS to it"):
        metrics.lpips(image, image)
    with pytest.raises(FileNotFoundError, match="there is no file of weights"):
        metrics.lpips(image, image, tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not weights")
    with pytest.raises(ValueError, match="not a file of weights"):
        metrics.lpips(image, image, tmp_path / "text.npz")
    arrays = dict(np.load(weights["squeeze"]))
    np.savez(tmp_path / "short.npz", **{k: v for k, v in arrays.items() if "net.12" not in k})
    with pytest.raises(ValueError, match=r"whole backbone.*net\.12"):
        metrics.lpips(image, image, tmp_path / "short.npz")
    np.savez(tmp_path / "lines.npz", **{k: v for k, v in arrays.items() if k != "lin6"})
    with pytest.raises(ValueError, match="is not LPIPS: its linear layers have"):
        metrics.lpips(image, image, tmp_path / "lines.npz")
    with pytest.raises(ValueError, match="#sha256="):
        metrics.lpips(image, image, "https://example.org/weights.npz")
    monkeypatch.setenv(metrics.LPIPS_VARIABLE, str(weights["squeeze"]))
    assert metrics.lpips(image, image).numpy().tolist() == [0.0]


def test_the_frechet_distance_equals_that_of_normal_distributions():
    rng = np.random.default_rng(0)
    a = rng.normal(size=[400, 6]) @ rng.normal(size=[6, 6])
    b = rng.normal(size=[300, 6]) @ rng.normal(size=[6, 6]) + 0.5
    first, second = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(first @ second).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(first + second - 2 * root)
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert metrics.frechet_distance(a, a) == pytest.approx(0.0, abs=1e-6)
    assert metrics.frechet_distance(a, a + 2.0) == pytest.approx(24.0, rel=1e-6)
    few = rng.normal(size=[4, 6])  # singular
    assert np.isfinite(metrics.frechet_distance(few, a))


def test_kernel_distance_is_unbiased():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=[7, 3]), rng.normal(size=[5, 3]) + 1.0

    def mean(x, y, same):
        pairs = [(i, j) for i in range(len(x)) for j in range(len(y)) if not (same and i == j)]
        return np.mean([(x[i] @ y[j] / 3 + 1) ** 3 for i, j in pairs])

    expected = mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)
    assert metrics.kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)
    same = [metrics.kernel_distance(*rng.normal(size=[2, 30, 4])) for _ in range(300)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    assert min(same) < 0 < metrics.kernel_distance(a, b)


def test_invalid_sets_of_features_are_refused():
    good = np.zeros([4, 3])
    for other, words in (
        (np.zeros([4, 2]), "equally many features"),
        (np.zeros([1, 3]), "two images or more"),
        (np.full([4, 3], np.nan), "not numbers"),
    ):
        for distance in (metrics.frechet_distance, metrics.kernel_distance):
            with pytest.raises(ValueError, match=words):
                distance(good, other)
    with pytest.raises(ValueError, match="no images in the set"):
        metrics.features_of([], lambda batch: batch)


def test_distances_between_sets_take_any_features(weights):
    backbone, w = metrics.BACKBONES["squeeze"], dict(np.load(weights["squeeze"]))

    def extractor(batch: np.ndarray) -> np.ndarray:
        return tf.reduce_mean(backbone.features(w, batch)[2], axis=(1, 2)).numpy()

    rng = np.random.default_rng(0)
    places = rng.integers(0, 200, [40, 2])
    crops = np.stack([cropped(264, 264)[y : y + 48, x : x + 48] for y, x in places])
    noisy = np.clip(crops + rng.normal(0, 40, crops.shape), 0, 255)
    clean, other, far = (
        metrics.features_of(np.array_split(p, 3), extractor)
        for p in (crops[::2], crops[1::2], noisy[1::2])
    )
    assert clean.shape == (20, 256)
    for distance in (metrics.frechet_distance, metrics.kernel_distance):
        assert distance(clean, far) > 2 * abs(distance(clean, other))
