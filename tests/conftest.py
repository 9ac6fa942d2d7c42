"""What several test files use: one codec per registered model, with small trained weights."""

from __future__ import annotations

import functools
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
# Every registered model, with the arguments of a model small enough to build in a moment.
# tests/conformance/test_registry.py fails when one is missing.
SMALL = {
    "bls2017": {"channels": 8, "latents": 12},
    "bmshj2018-factorized": {"channels": 8, "latents": 12},
    "bmshj2018-hyperprior": {"channels": 8, "latents": 12},
    "mbt2018-mean": {"channels": 8, "latents": 12},
}


@functools.cache
def golden_codec(name: str):
    """The codec of a model with the weights of its golden file, in float32."""
    from tfc_models import zoo
    from tfc_models.codec import Codec
    from tfc_models.zoo import files

    model = zoo.build_model(files.read(GOLDEN / f"{name}.npz"))
    model.set_bfloat16("off")
    return Codec(model)


@functools.cache
def photo() -> np.ndarray:
    """A photo out of scikit-image's wheel."""
    from skimage import data

    return data.astronaut()


def cropped(height: int, width: int) -> np.ndarray:
    """A piece of a photo, of any size."""
    picture = photo()
    tiles = -(-height // picture.shape[0]), -(-width // picture.shape[1]), 1
    return np.ascontiguousarray(np.tile(picture, tiles)[:height, :width])


@pytest.fixture(params=sorted(SMALL))
def model_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def codec(model_name: str):
    return golden_codec(model_name)
