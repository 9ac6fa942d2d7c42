"""HiFiC: the paper's network, tiling and exactness."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import GOLDEN, SMALL, cropped, golden_codec
from tfc_models import models
from tfc_models.codec import Codec
from tfc_models.layers import Residual, tiled
from tfc_models.zoo import files

NAME = "hific"


def weights(channels: int, latents: int, hyper: int, blocks: int) -> int:
    """Returns the number of weights of the paper's network: k·k·in·out + out per convolution."""

    def conv(size, inputs, outputs, bias=1):
        return size * size * inputs * outputs + bias * outputs

    def norm(width):
        return 2 * width

    stages = [channels * 2**i for i in range(5)]
    wide = stages[-1]
    encoder = conv(7, 3, channels) + norm(channels)
    encoder += sum(conv(3, a, b) + norm(b) for a, b in zip(stages, stages[1:]))
    encoder += conv(3, wide, latents)
    generator = norm(latents) + conv(3, latents, wide) + norm(wide)
    generator += blocks * 2 * (conv(3, wide, wide) + norm(wide))
    generator += sum(conv(3, b, a) + norm(a) for a, b in zip(stages, stages[1:]))
    generator += conv(7, channels, 3)
    into_z = conv(3, latents, hyper) + conv(5, hyper, hyper) + conv(5, hyper, hyper, bias=0)
    out_of_z = 2 * conv(5, hyper, hyper) + conv(3, hyper, latents)
    return encoder + generator + into_z + 2 * out_of_z


def count(model) -> int:
    """Returns the number of learned values without the densities of z."""
    state = model.state()
    return sum(int(np.prod(v.shape)) for k, v in state.items() if not k.startswith("coder/"))


@functools.cache
def random_model(blocks: int = 2, quantization: str = "mixed"):
    """Returns a small model with random normalizations."""
    tf.keras.utils.set_random_seed(3)
    arguments = {**SMALL[NAME], "blocks": blocks, "quantization": quantization}
    model = models.build(NAME, **arguments)
    rng = np.random.default_rng(0)
    state = {k: np.asarray(v) for k, v in model.state().items()}
    for key, value in state.items():
        if key.endswith(("/scale", "/offset", "/bias")):
            state[key] = value + rng.normal(size=value.shape) * 0.2
    state["analysis/conv5/kernel"] = state["analysis/conv5/kernel"] * 4.0
    model.assign_state(state)
    model.set_bfloat16("off")
    return model


@pytest.mark.parametrize(
    "arguments",
    [
        {"channels": 4, "latents": 12, "hyper": 8, "blocks": 2},
        {"channels": 3, "latents": 7, "hyper": 5, "blocks": 1},
    ],
    ids=str,
)
def test_widths_are_arguments_of_the_configuration(arguments):
    assert count(models.build(NAME, **arguments)) == weights(**arguments)


@pytest.mark.slow
def test_the_default_is_the_papers_network_of_181_million_weights():
    model = models.build(NAME)
    assert count(model) == weights(60, 220, 320, 9)
    assert round(count(model) / 1e6) == 181
    assert (model.latent_channels, model.coder.quantization.mode) == (220, "mixed")
    assert [layer.filters for layer in model.analysis.layers[::2]] == [60, 120, 240, 480, 960, 220]
    (blocks,) = (layer for layer in model.synthesis.layers if isinstance(layer, Residual))
    assert len(blocks.layers) == 9


@pytest.mark.parametrize("option", [{"channels": 1}, {"latents": 1}, {"hyper": 0}, {"blocks": 0}])
def test_invalid_widths_are_refused(option):
    with pytest.raises(ValueError, match="blocks 1 or more"):
        models.build(NAME, **{**SMALL[NAME], **option})


def test_a_skip_connection_leads_around_all_blocks():
    model = random_model()
    state = {k: np.asarray(v) for k, v in model.state().items()}
    silent = {
        k: np.zeros_like(v) if k.endswith(("norm1/scale", "norm1/offset")) and "block" in k else v
        for k, v in state.items()
    }
    (blocks,) = (layer for layer in model.synthesis.layers if isinstance(layer, Residual))
    maps = tf.random.stateless_normal([1, 4, 6, 64], [1, 2])
    try:
        model.assign_state(silent)
        # Blocks add nothing; the result is the input plus the long skip connection.
        np.testing.assert_array_equal(blocks(maps), 2.0 * maps)
    finally:
        model.assign_state(state)
    assert np.abs(blocks(maps) - 2.0 * maps).mean() > 0.1


@pytest.mark.parametrize("blocks", [1, 3])
def test_tiles_decode_to_the_whole_image_with_the_smallest_halo(blocks):
    model = random_model(blocks)
    assert model.halo == 3 + 2 * blocks
    image = tf.constant(cropped(320, 384)[None], tf.float32)
    latents = tf.TensorSpec([None, None, 12], tf.float32)
    pixels = tf.TensorSpec([None, None, 3], tf.float32)
    y = model.to_latents(image)

    def off(transform, maps, units, out, halo):
        parts = tiled(transform, maps, *units, out, tile=8, halo=halo)
        return float(tf.reduce_max(tf.abs(parts - transform(maps))))

    assert off(model.to_latents, image, (16, 1), latents, model.halo) < 1e-4
    assert off(model.to_latents, image, (16, 1), latents, 3) < 1e-4
    assert off(model.to_latents, image, (16, 1), latents, 2) > 1e-3
    assert off(model.to_images, y, (1, 16), pixels, model.halo) < 1e-2
    assert off(model.to_images, y, (1, 16), pixels, model.halo - 1) > 2e-2


@pytest.mark.usefixtures("eager")
def test_an_image_of_odd_sides_decodes_to_the_encoders_latents():
    codec = Codec(random_model(quantization="round"))
    image = cropped(77, 131)
    data = codec.compress(image)
    decoded = codec.decompress(data)
    assert decoded.shape == image.shape
    expected = codec.model(image[None].astype(np.float32)).reconstruction[0]
    assert np.abs(decoded - np.clip(expected, 0, 255)).max() < 1.0


def test_a_frozen_generator_decodes_in_float32_with_every_bfloat16_setting():
    model = golden_codec(NAME).model
    y = tf.random.stateless_normal([1, 4, 5, model.latent_channels], [1, 2])
    expected = model.to_images(y)
    try:
        for setting in ("on", "auto"):
            model.set_bfloat16(setting)
            assert model.synthesis_dtype == tf.float32
            np.testing.assert_array_equal(model.to_images(y), expected)
    finally:
        model.set_bfloat16("off")


def test_training_rounds_latents_for_the_generator_and_adds_noise_for_the_rate():
    coder = random_model().coder
    y = random_model().to_latents(tf.constant(cropped(64, 96)[None], tf.float32))
    tf.random.set_seed(1)
    (y_hat, bits), (again, others) = (coder(y, training=True) for _ in range(2))
    rounded, _ = coder(y, training=False)
    assert np.abs(y_hat - y).max() <= 0.5001
    # z has noise in training, which moves the means; latents are whole steps from a mean.
    assert np.abs(rounded - y).max() <= 0.5001
    assert bits["y"] != others["y"]
    assert bool(tf.reduce_all(y_hat == again))
    with tf.GradientTape() as tape:
        tape.watch(y)
        total = tf.reduce_sum(coder(y, training=True)[0])
    np.testing.assert_allclose(tape.gradient(total, y), tf.ones_like(y), atol=1e-5)


def parameters(coder, z_hat, shape):
    """Returns scale indexes and means predicted from hyper-latents."""
    return coder.predict(lambda params, _: params.mean, shape, z_hat, None)[:2]


def test_scales_and_means_have_separate_networks():
    coder = random_model().coder
    z_hat = tf.round(tf.random.stateless_normal([1, 2, 3, 8], [1, 2]) * 3.0)
    index, mean = parameters(coder, z_hat, [8, 12])
    scales, means = coder.prediction.networks.chains
    np.testing.assert_allclose(mean, means(z_hat), atol=1e-5)
    np.testing.assert_allclose(index, scales(z_hat) * 8.0 + 18.0, atol=1e-4)


def test_exact_parameters_approximate_the_float_networks_and_equal_those_of_a_stored_state():
    codec = golden_codec(NAME)
    exact, weights_file = codec.model.coder, files.read(GOLDEN / f"{NAME}.npz")
    frozen_parts = ("cdf", "/exact/")
    plain = {k: v for k, v in weights_file.state.items() if not any(m in k for m in frozen_parts)}
    floating = models.build(NAME, **codec.model.config)
    floating.assign_state(plain)
    floating.set_bfloat16("off")
    y = codec.model.to_latents(tf.constant(cropped(256, 256)[None], tf.float32))
    z_hat = tf.round(exact.hyper_latents(y))
    index, mean = parameters(exact, z_hat, tf.shape(y)[1:3])
    float_index, float_mean = parameters(floating.coder, z_hat, tf.shape(y)[1:3])
    assert bool(tf.reduce_all(index == tf.round(index)))
    assert bool(tf.reduce_all(mean * 64.0 == tf.round(mean * 64.0)))
    assert np.abs(index - np.clip(float_index, 0, 63)).mean() < 0.5
    assert np.abs(mean - float_mean).mean() < 0.05
    names = {k.rsplit("/", 1)[0] for k in exact.state() if "exact" in k}
    assert names == {"exact", "exact/means"}
    assert len(exact.pieces) == 6
