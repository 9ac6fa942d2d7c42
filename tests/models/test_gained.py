"""Models of many rates: the rate in the file determines decoding, bit for bit."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import SMALL, cropped, random_gained
from tfc_models import models, zoo
from tfc_models.layers import level_weights, tiled
from tfc_models.zoo import files

NAME = "gained-stem4"


@functools.cache
def frozen():
    model = random_gained()
    model.set_bfloat16("off")
    model.freeze()
    return model


def test_rates_between_levels_are_interpolated():
    weights = level_weights(tf.constant([0.0, 12.5, 25.0, 100.0]), 5).numpy()
    np.testing.assert_array_equal(
        weights, [[1, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]
    )


def test_lambda_is_geometric_in_the_rate():
    model = models.build(NAME, **SMALL[NAME], lmbda=0.02, span=100.0)
    lambdas = model.lambda_at(tf.constant([0.0, 50.0, 75.0, 100.0])).numpy()
    np.testing.assert_allclose(lambdas, [0.002, 0.02, 0.02 * 10**0.5, 0.2], rtol=1e-5)


@pytest.mark.parametrize("rate", [0, 1, 37, 50, 64, 99, 100])
def test_quantized_forward_pass_and_coding_give_the_same_latent_at_every_rate(rate):
    model = frozen()
    image = cropped(97, 130)[:96, :128]
    batch = tf.constant(np.stack([image, image[::-1, ::-1]]))
    y = model.to_latents(batch, rate)
    forward, _ = model.coder(y, training=False, rate=rate)
    strings = model.coder.compress(y, rate)
    decoded = model.coder.decompress(strings, tf.shape(y)[1:3], rate)
    np.testing.assert_array_equal(forward.numpy(), decoded.numpy())
    np.testing.assert_array_equal(model.coder.encode(y, rate)[1].numpy(), decoded.numpy())
    # The container's fingerprint covers integers in units of 1/64.
    np.testing.assert_array_equal(decoded * 64.0, np.rint(decoded * 64.0))


def test_each_example_of_a_batch_has_its_own_rate():
    model = frozen()
    batch = tf.constant(np.stack([cropped(64, 96)] * 3))
    rate = tf.constant([3.0, 50.0, 91.0])
    y = model.to_latents(batch, rate)
    strings = model.coder.compress(y, rate)
    together = model.coder.decompress(strings, tf.shape(y)[1:3], rate)
    for i in range(3):
        one = slice(i, i + 1)
        np.testing.assert_array_equal(model.coder.compress(y[one], rate[one])[1], strings[1][one])
        alone = model.coder.decompress(tuple(s[one] for s in strings), [4, 6], rate[one])
        np.testing.assert_array_equal(alone, together[one])


def test_parameters_are_exact_without_exponentials_at_run_time():
    """Indexes are integers and means multiples of 1/64, computed from integers only."""
    model = frozen()

    def parameters(z, rate):
        params = model.coder.predict(lambda params, _: params.mean, tf.constant([8, 8]), z, rate)
        return params.index, params.mean

    graph = tf.function(parameters)
    concrete = graph.get_concrete_function(
        tf.TensorSpec([None, 2, 2, 8]), tf.TensorSpec([None], tf.float32)
    )
    operations = {n.op for n in concrete.graph.as_graph_def().node}
    for function in concrete.graph.as_graph_def().library.function:
        operations |= {n.op for n in function.node_def}
    assert not operations & {"Exp", "Pow", "Log", "Tanh"}
    z = tf.random.stateless_uniform([101, 2, 2, 8], [1, 2], -40, 40)
    index, mean = concrete(tf.round(z), tf.range(101, dtype=tf.float32))
    assert np.all(index == np.rint(index)) and np.min(index) >= 0 and np.max(index) <= 63
    assert np.all(mean * 64.0 == np.rint(mean * 64.0))
    assert np.std(index) > 1 and np.std(mean) > 0


def test_bits_grow_with_the_rate():
    model = frozen()
    image = tf.constant(cropped(128, 192)[None])
    totals = []
    for rate in (0, 20, 45, 70, 100):
        bits = model(image, training=False, rate=rate).bits
        totals.append(float(bits["y"][0]))
    assert totals == sorted(totals) and totals[-1] > 1.5 * totals[0]


def test_readers_code_with_the_stored_tables_of_the_rates(tmp_path):
    model = frozen()
    files.save(model, tmp_path / "weights.npz")
    loaded = zoo.build_model(files.read(tmp_path / "weights.npz"))
    loaded.set_bfloat16("off")
    assert loaded.digest() == model.digest()
    y = model.to_latents(tf.constant(cropped(64, 96)[None]), 23)
    strings = model.coder.compress(y, 23)
    np.testing.assert_array_equal(
        loaded.coder.decompress(strings, [4, 6], 23), model.coder.decompress(strings, [4, 6], 23)
    )
    state = model.state()
    tables = [name for name in state if name.startswith("coder/rates/")]
    assert sorted(tables) == ["coder/rates/index_offset", "coder/rates/mean_gain"]
    for name in tables:
        assert state[name].shape == (101, 12) and np.issubdtype(state[name].dtype, np.integer)


def test_tables_of_the_rates_are_covered_by_the_digest():
    model = random_gained()
    model.freeze()
    before = model.digest()
    rates = model.coder.rates
    rates.integers["index_offset"] = rates.integers["index_offset"] + np.int16(1)
    assert model.digest() != before


@pytest.mark.parametrize("blocks", [1, 2])
def test_tiles_decode_to_the_whole_image(blocks):
    model = random_gained(blocks=blocks)
    model.set_bfloat16("off")
    image = tf.constant(cropped(320, 384)[None], tf.float32)
    latents = tf.TensorSpec([None, None, 12], tf.float32)
    pixels = tf.TensorSpec([None, None, 3], tf.float32)
    y = model.to_latents(image)
    tiles = tiled(model.to_latents, image, 16, 1, latents, tile=8, halo=model.halo)
    np.testing.assert_allclose(tiles, y, atol=1e-4)
    tiles = tiled(model.to_images, y, 1, 16, pixels, tile=8, halo=model.halo)
    np.testing.assert_allclose(tiles, model.to_images(y), atol=1e-2)
    short = tiled(model.to_images, y, 1, 16, pixels, tile=8, halo=1)
    assert np.abs(short - model.to_images(y)).max() > 0.1


def test_a_block_starts_as_the_identity():
    from tfc_models.layers import GainedResidual

    block = GainedResidual(6, 4, 3)
    maps = tf.random.stateless_normal([2, 5, 7, 6], [1, 2])
    np.testing.assert_array_equal(block(maps, level_weights(tf.constant([0.0, 40.0]), 3)), maps)
