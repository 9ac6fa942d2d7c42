"""Fixtures: small models with a layer of compressible features."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfc_models.features import CompressibleFeatures


def vectors(count, channels=6, seed=0):
    return np.random.default_rng(seed).normal(0.0, 3.0, (count, channels)).astype(np.float32)


def built_layer(prior="factorized", shape=(6,), seed=0, **settings):
    """Returns a frozen, untrained layer."""
    tf.keras.utils.set_random_seed(seed)
    layer = CompressibleFeatures(prior=prior, initial_step=0.5, **settings)
    layer.build((None, *shape))
    layer.freeze()
    return layer


@pytest.fixture(scope="session", params=["factorized", "conditional"])
def layer(request):
    return built_layer(request.param)


@pytest.fixture(scope="session")
def factorized():
    return built_layer("factorized")
