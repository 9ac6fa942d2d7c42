"""Semantic metric: fits to ratings and to choices, as a function and as a command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import ndimage, special

from tests.conftest import cropped
from tests.random_networks import random_network
from tfc_models import metrics
from tfc_models.cli.main import main
from tfc_models.metrics import SemanticSubstitute
from tfc_models.models.distortion import distortions, parsed, prepare
from tfc_models.perceptual.bapps import Choice

CHANNELS = 6, 10


def _layer(name: str):
    def layer(weights, maps):
        return tf.nn.relu(tf.nn.conv2d(maps, weights[name], 2, "SAME"))

    return layer


BACKBONE = metrics.Backbone((_layer("first"), _layer("second")), (0, 1), CHANNELS, 8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path, draw = tmp_path_factory.mktemp("semantic") / "network.npz", np.random.default_rng(0)
    kernels = {"first": [5, 5, 3, CHANNELS[0]], "second": [3, 3, *CHANNELS]}
    values = {k: draw.normal(size=shape).astype("f4") / 4 for k, shape in kernels.items()}
    np.savez(path, **values)
    return path


@pytest.fixture(scope="module")
def truth(weights):
    """Metric that reads only some of the channels."""
    line = np.zeros(sum(CHANNELS))
    line[[6, 11]] = 1.0, 10.0
    return SemanticSubstitute(BACKBONE, weights, line)


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns crops and distorted copies: noise, blur, colour changes and shifts."""
    draw = np.random.default_rng(seed)
    photo = cropped(300, 300).astype("f4")
    corners = draw.integers(0, 268, [count, 2])
    a = np.stack([photo[y : y + 32, x : x + 32] for y, x in corners])
    ways = (
        lambda x: x + draw.normal(size=x.shape) * draw.uniform(2, 50),
        lambda x: ndimage.gaussian_filter(x, [*[draw.uniform(0.4, 3)] * 2, 0]),
        lambda x: x + draw.normal(size=3) * draw.uniform(2, 40),
        lambda x: np.roll(x, draw.integers(1, 4), axis=draw.integers(2)),
    )
    b = np.stack([ways[draw.integers(len(ways))](x) for x in a])
    return a, np.clip(b, 0, 255).astype("f4")


def uniform(weights) -> SemanticSubstitute:
    return SemanticSubstitute(BACKBONE, weights, np.ones(sum(CHANNELS)))


def test_a_fit_to_ratings_recovers_their_weights(weights, truth):
    a, b = images(60, seed=1)
    fitted = SemanticSubstitute.fitted(BACKBONE, weights, a, b, truth(a, b).numpy(), ridge=1e-8)
    np.testing.assert_allclose(fitted.line, truth.line, atol=0.02 * truth.line.max())
    again = SemanticSubstitute.fitted(
        BACKBONE, weights, a, b, truth(a, b).numpy(), ridge=1e-8, batch=60
    )
    np.testing.assert_allclose(again.line, fitted.line, atol=1e-3)
    with pytest.raises(ValueError, match="one rating per pair"):
        SemanticSubstitute.fitted(BACKBONE, weights, a, b, np.zeros(3))


def test_a_fit_to_choices_generalizes_to_unseen_choices(weights, truth):
    def choices(count: int, seed: int) -> list[Choice]:
        reference, first = images(count, seed)
        order = np.random.default_rng(seed).permutation(count)
        second = reference + (first - reference)[order]  # distorted like another crop
        nearer = 20.0 * (truth(reference, first) - truth(reference, second)).numpy()
        shares = special.expit(nearer / np.std(nearer) * 3.0)
        parts = zip(reference, first, second, shares)
        return [Choice(r, (x, y), float(share)) for r, x, y, share in parts]

    fitted = SemanticSubstitute.fitted_to_choices(BACKBONE, weights, choices(150, 1), ridge=1e-5)
    assert np.all(fitted.line >= 0)
    unseen = choices(150, 2)
    reference, first, second = (
        np.stack(part) for part in zip(*((c.reference, *c.patches) for c in unseen))
    )
    second_is_nearer = np.array([c.chosen > 0.5 for c in unseen])

    def agreement(metric: SemanticSubstitute) -> float:
        nearer = (metric(reference, first) > metric(reference, second)).numpy()
        return float(np.mean(nearer == second_is_nearer))

    assert agreement(fitted) > 0.9 > agreement(uniform(weights)) + 0.05
    with pytest.raises(ValueError, match="two choices or more"):
        SemanticSubstitute.fitted_to_choices(BACKBONE, weights, unseen[:1])


def test_invalid_fits_are_refused(weights):
    a, b = images(2, seed=0)
    with pytest.raises(ValueError, match="squeeze, alex, vgg"):
        SemanticSubstitute.fitted("resnet", weights, a, b, np.ones(2))
    with pytest.raises(ValueError, match="numbers from 0 on"):
        SemanticSubstitute(BACKBONE, weights, -np.ones(sum(CHANNELS)))
    with pytest.raises(ValueError, match="has no fitted weights"):
        SemanticSubstitute(BACKBONE, weights)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """File of a metric on SqueezeNet with random weights."""
    folder, draw = tmp_path_factory.mktemp("saved"), np.random.default_rng(0)
    random_network("squeeze", folder / "network.npz")
    count = sum(metrics.BACKBONES["squeeze"].channels)
    metric = SemanticSubstitute("squeeze", folder / "network.npz", draw.uniform(size=count))
    metric.save(folder / "fitted.npz")
    return metric, folder / "fitted.npz"


def test_a_saved_fit_gives_the_same_metric(saved, monkeypatch, tmp_path):
    metric, path = saved
    a, b = images(2, seed=0)
    expected = metric(a, b).numpy()
    np.testing.assert_array_equal(metrics.saved_semantic(path)(a, b), expected)
    np.testing.assert_array_equal(metrics.semantic(a, b, path), expected)
    monkeypatch.delenv(metrics.SEMANTIC_VARIABLE, raising=False)
    with pytest.raises(ValueError, match="set TFC_MODELS_SEMANTIC to it"):
        metrics.semantic(a, b)
    monkeypatch.setenv(metrics.SEMANTIC_VARIABLE, str(path))
    np.testing.assert_array_equal(metrics.named("semantic").distance(a, b), expected)
    with pytest.raises(ValueError, match="is not a saved semantic metric"):
        metrics.saved_semantic(path.with_name("network.npz"))
    with pytest.raises(FileNotFoundError):
        metrics.saved_semantic(tmp_path / "none.npz")


def test_the_metric_can_be_a_distortion_in_training(saved, monkeypatch):
    metric, path = saved
    monkeypatch.setenv(metrics.SEMANTIC_VARIABLE, str(path))
    terms = parsed("0.5*mse + 2*semantic")
    prepare(terms)
    a, b = (tf.constant(x) for x in images(2, seed=0))
    total, parts = distortions(terms, a, b)
    np.testing.assert_allclose(parts["semantic"], metric(a, b), rtol=1e-5)
    np.testing.assert_allclose(total, 0.5 * metrics.mse(a, b) + 2.0 * metric(a, b), rtol=1e-5)


def test_the_command_reports_the_metric(saved, monkeypatch, tmp_path, capsys):
    metric, path = saved
    monkeypatch.delenv(metrics.SEMANTIC_VARIABLE, raising=False)
    a, b = (np.round(x[0]).astype(np.uint8) for x in images(1, seed=0))
    for name, image in (("a", a), ("b", b)):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    command = ["metrics", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--metric", "semantic"]
    assert main([*command, "--weights", f"semantic={path}", "--json"]) == 0
    actual = json.loads(capsys.readouterr().out)["mean"]["semantic"]
    assert actual == pytest.approx(float(metric(a[None], b[None])[0]), rel=1e-5)
    assert main(command) == 2
    assert "Semantic metric needs its weights: give --weights" in capsys.readouterr().err
