"""The model with a synthesis of two layers: cost, reach, and start as a linear transform."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.complexity import decoding_multiplications
from tests.conftest import SMALL, cropped, photo, random_gained
from tfc_models import models
from tfc_models.layers import tiled
from tfc_models.training.linear_start import linear_start

NAME = "gained-shallow"


def test_decoding_takes_fewer_than_20_thousand_multiplications_per_pixel():
    assert 0 < decoding_multiplications(models.build(NAME), side=64) < 20e3


def test_analysis_and_coder_are_those_of_the_model_with_a_checkerboard():
    other = "gained-checkerboard"
    sizes = SMALL[NAME]
    shapes, others = (
        {k: v.shape for k, v in models.build(name, **sizes).state().items()}
        for name in (NAME, other)
    )
    for part in (shapes, others):
        for key in [key for key in part if key.startswith("synthesis/")]:
            del part[key]
    assert shapes == others


@pytest.mark.parametrize("blocks", [1, 2])
def test_tiles_decode_to_the_whole_image(blocks):
    model = random_gained(NAME, blocks=blocks)
    model.set_bfloat16("off")
    image = tf.constant(cropped(320, 384)[None], tf.float32)
    latents = tf.TensorSpec([None, None, 12], tf.float32)
    pixels = tf.TensorSpec([None, None, 3], tf.float32)
    y = model.to_latents(image)
    tiles = tiled(model.to_latents, image, 16, 1, latents, tile=8, halo=model.halo)
    np.testing.assert_allclose(tiles, y, atol=1e-4)
    tiles = tiled(model.to_images, y, 1, 16, pixels, tile=8, halo=model.halo)
    np.testing.assert_allclose(tiles, model.to_images(y), atol=1e-2)
    short = tiled(model.to_latents, image, 16, 1, latents, tile=8, halo=model.halo - 2)
    assert np.abs(short - y).max() > 1e-3


def test_layers_of_the_nonlinear_branch_have_their_own_learning_rates():
    model = models.build(NAME, **SMALL[NAME])
    groups = model.synthesis.variable_groups("transforms")
    branches = model.synthesis.layers[1]
    assert {groups[v.ref()] for v in branches.layers[1].trainable_variables} == {"blocks"}
    assert {groups[v.ref()] for v in branches.skip.trainable_variables} == {"transforms"}


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    image = photo()
    tiles = [image[i : i + 128, j : j + 128] for i in range(0, 384, 64) for j in range(0, 384, 64)]
    return np.stack(tiles).astype(np.float32)


def psnr(images: np.ndarray, decoded: tf.Tensor) -> float:
    return float(10.0 * np.log10(255.0**2 / np.mean(np.square(decoded - images))))


@pytest.mark.parametrize("maps", [12, 15])
def test_the_linear_start_inverts_the_transform_of_the_analysis(crops, maps):
    """The lost variance alone determines the error, except for the share of the inverse GDN."""
    tf.keras.utils.set_random_seed(0)
    model = models.build(NAME, channels=48, latents=96, blocks=1, maps=maps)
    model.set_bfloat16("off")
    kept = linear_start(model, crops)
    assert 0.97 < kept < 1.0
    total = np.square(crops - 127.5).mean()
    linear = 10.0 * np.log10(255.0**2 / ((1.0 - kept) * total))
    decoded = model.to_images(model.to_latents(crops, 50.0), 50.0)
    assert abs(psnr(crops, decoded) - linear) < 1.0


def test_the_linear_start_needs_a_map_for_each_number_of_a_block():
    model = models.build(NAME, **SMALL[NAME], maps=11)
    with pytest.raises(ValueError, match="no linear start with 11 maps: give 12 or more"):
        linear_start(model, np.stack([cropped(64, 64)] * 2))
