"""Divergence of samples from a Laplacian of unit variance."""

from __future__ import annotations

import numpy as np
import pytest

from tfc_models.analysis import laplacian_divergence


def test_the_divergence_of_laplacian_values_is_zero_and_grows_with_their_scale():
    values = np.random.default_rng(0).laplace(size=400_000) * np.sqrt(0.5)
    assert 0.0 <= laplacian_divergence(values) < 2e-3
    for scale in (0.7, 2.0):
        # KL of scales b' and b is b'/b − 1 − log(b'/b).
        expected = scale - 1.0 - np.log(scale)
        assert laplacian_divergence(values * scale) == pytest.approx(expected, rel=0.05)


def test_values_beyond_the_bins_count_in_the_last_ones():
    assert 10.0 < laplacian_divergence(np.full(10, 1e6)) < 40.0
