"""Gates on channels, their removal, and costs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import random_gained, random_model
from tfc_models.decoders import ReplacementDecoder, multiplications, widths_of
from tfc_models.decoders.costs import cost_function, cost_per_channel, layer_seconds
from tfc_models.decoders.gates import GatedDecoder


@pytest.fixture(scope="module")
def base():
    model = random_gained("gained-stem4", channels=16, latents=24)
    model.set_bfloat16("off")
    return model


def gated(base, seed: int = 0) -> GatedDecoder:
    """Returns a decoder with random gates."""
    decoder = GatedDecoder(ReplacementDecoder(base))
    rng = np.random.default_rng(seed)
    for gate in decoder.synthesis.gates.values():
        gate.assign(rng.uniform(0.5, 1.5, gate.shape))
    return decoder


def test_gates_of_1_change_nothing(base):
    latents = tf.random.stateless_normal([1, 4, 4, 24], [1, 2]) * 3.0
    decoder = GatedDecoder(ReplacementDecoder(base))
    expected = base.to_images(latents, 40.0)
    np.testing.assert_array_equal(decoder.to_images(latents, 40.0), expected)


@pytest.mark.parametrize("name", ["gained-stem4", "mbt2018-mean"])
def test_the_narrowed_decoder_gives_the_same_images(name, base):
    model = base if name == "gained-stem4" else random_model(name)
    model.set_bfloat16("off")
    decoder = gated(model)
    cost = cost_function(model)
    decoder.remove_until(cost, 0.5 * cost(decoder.widths), multiple=4)
    latents = tf.random.stateless_normal([1, 4, 4, model.latent_channels], [1, 2]) * 3.0
    rate = 40.0 if model.many_rates else None
    narrow = decoder.narrowed()
    assert narrow.widths == decoder.kept_widths != decoder.widths
    images = decoder.to_images(latents, rate)
    np.testing.assert_allclose(narrow.to_images(latents, rate), images, atol=5e-3)
    assert np.abs(images - model.to_images(latents, rate)).max() > 1.0


def test_channels_with_the_smallest_gates_are_removed(base):
    decoder = gated(base)
    gates = {n: v.numpy() for n, v in decoder.synthesis.gates.items()}
    cost = cost_function(base)
    limit = 0.6 * cost(decoder.widths)
    decoder.remove_until(cost, limit, multiple=4)
    assert cost(decoder.kept_widths) <= limit
    assert all(width % 4 == 0 for width in decoder.kept_widths.values())
    for name, kept in decoder.synthesis.kept.items():
        kept = kept.numpy().astype(bool)
        if kept.any() and not kept.all():
            assert gates[name][kept].min() > gates[name][~kept].max()
    # Each convolution keeps some channels; blocks may lose all of them.
    decoder.remove_until(cost, 0.2 * cost(decoder.widths), multiple=4)
    assert min(decoder.kept_widths[n] for n in ("conv1", "conv2")) >= 4
    with pytest.raises(ValueError, match="no channels are left to remove"):
        decoder.remove_until(cost, 1.0, multiple=4)


def test_blocks_that_were_removed_before_stay_removed(base):
    start = ReplacementDecoder(base, {"block00": 0})
    decoder = GatedDecoder(start)
    cost = cost_function(base)
    assert decoder.kept_widths == start.widths
    decoder.remove_until(cost, 0.7 * cost(decoder.widths), multiple=4)
    narrow = decoder.narrowed()
    assert narrow.widths["block00"] == 0 and narrow.widths == decoder.kept_widths
    latents = tf.random.stateless_normal([1, 4, 4, 24], [1, 2]) * 3.0
    images = decoder.to_images(latents, 40.0)
    np.testing.assert_allclose(narrow.to_images(latents, 40.0), images, atol=5e-3)


def test_the_penalty_weights_gates_by_cost(base):
    decoder = gated(base)
    cost = cost_function(base)
    each = cost_per_channel(cost, decoder.widths)
    costs = {name: tf.constant(value, tf.float32) for name, value in each.items()}
    expected = sum(
        each[name] * np.abs(gate.numpy()).sum() for name, gate in decoder.synthesis.gates.items()
    )
    np.testing.assert_allclose(decoder.penalty(costs), expected, rtol=1e-5)
    with tf.GradientTape() as tape:
        penalty = decoder.penalty(costs)
    gradient = tape.gradient(penalty, decoder.synthesis.gates["conv1"])
    np.testing.assert_allclose(gradient, np.full(gradient.shape, each["conv1"]), rtol=1e-5)
    assert set(decoder.variable_groups()) == {"model", "gates"}


def test_costs(base):
    widths = widths_of(base.synthesis)
    counted = multiplications(base.synthesis, widths, 24)
    assert cost_function(base)(widths) == sum(counted.values())
    seconds = layer_seconds(base, rounds=1)
    assert set(seconds) >= set(counted) and all(value > 0.0 for value in seconds.values())
    in_seconds = cost_function(base, seconds)
    np.testing.assert_allclose(in_seconds(widths), sum(seconds[name] for name in counted))
    assert in_seconds({**widths, "conv1": 8}) < in_seconds(widths)
    each = cost_per_channel(cost_function(base), {**widths, "block00": 0})
    assert "block00" not in each and all(0.0 < value < 1.0 for value in each.values())
