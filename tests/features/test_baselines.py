"""Baselines code features with the bytes that they report."""

from __future__ import annotations

import numpy as np
import pytest

from tests.features.conftest import vectors
from tfc_models.features import baselines


def correlated(count, seed=0):
    mixing = np.random.default_rng(9).normal(size=(3, 8))
    return (vectors(count, 3, seed) @ mixing).astype(np.float32)


@pytest.fixture(scope="module")
def known():
    return correlated(800)


def test_float32_and_zip_are_lossless(known):
    features = correlated(100, 1)
    for method in (baselines.Float32(), baselines.Zip()):
        coded = method.fit(known).coded(features)
        np.testing.assert_array_equal(coded.features, features)
        assert 0 < coded.data_bytes <= features.nbytes and coded.side_bytes == 0


def test_int8_takes_one_byte_per_number(known):
    coded = baselines.Int8().fit(known).coded(known)
    steps = np.ptp(known, axis=0) / 255
    assert (np.abs(coded.features - known) <= 0.51 * steps).all()
    assert coded.data_bytes == known.size and coded.side_bytes == 8 * known.shape[1]


def test_pca_of_the_true_rank_is_as_exact_as_its_step(known):
    features = correlated(200, 1)
    small, large = (
        baselines.PcaQuantization(3, step).fit(known).coded(features) for step in (0.01, 0.5)
    )
    assert np.abs(small.features - features).max() < 0.03 * known.std()
    assert large.data_bytes < 0.5 * small.data_bytes
    assert small.side_bytes > 4 * 4 * 8
    short = baselines.PcaQuantization(1, 0.01).fit(known).coded(features)
    assert np.mean((short.features - features) ** 2) > 10 * np.mean(
        (small.features - features) ** 2
    )


def test_values_beyond_the_training_set_are_coded(known):
    method = baselines.PcaQuantization(3, 0.1).fit(known)
    features = 50 * known[:20]
    np.testing.assert_allclose(method.coded(features).features, features, atol=2.0)


def test_product_quantization_takes_the_bits_of_its_indexes(known):
    coded = baselines.ProductQuantization(2, 16).fit(known).coded(known[:100])
    assert coded.data_bytes == 100 and coded.side_bytes == 4 * 16 * 8
    assert np.mean((coded.features - known[:100]) ** 2) < 0.5 * known.var()


@pytest.mark.parametrize("method", [baselines.Int8(), baselines.PcaQuantization(2, 1.0)])
def test_unsupported_features_are_refused(method, known):
    with pytest.raises(ValueError, match="needs at least one vector"):
        method.fit(known[:0])
    with pytest.raises(ValueError, match="NaN"):
        method.fit(known * np.nan)
    with pytest.raises(ValueError, match="examples × channels"):
        method.fit(known[0])
    assert method.fit(known).coded(known[:0]).features.shape == (0, 8)
