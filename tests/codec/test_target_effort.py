"""Targets with an encoder effort: strict, and with few searches."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from tests.conftest import cropped, golden_codec
from tfc_models.codec import compress_to_bytes, compress_to_psnr

RGB_IMAGE = np.full([300, 300, 3], 100, np.uint8)


class Fake:
    """Files of given sizes and errors; counts the searches.

    Args:
        factor: by which a search changes the size.
        better: grey levels by which it changes the error.
    """

    many_rates = True

    def __init__(self, factor: float, better: int = 0) -> None:
        self.factor, self.better = factor, better
        self.searches: collections.Counter[int] = collections.Counter()

    def compress(self, picture, quality, effort=0, tune=None, progress=None) -> bytes:
        size = 1000.0 * 1.03**quality + quality % 3
        if effort:
            assert (effort, tune) == (4, "pim")
            self.searches[quality] += 1
            progress(1, 1)
            # The ratio is not the same at all qualities.
            size *= self.factor * (1.0 + 0.001 * (quality - 50))
        return bytes([quality, bool(effort)]).ljust(int(size), b"x")

    def decompress(self, data, max_pixels, max_side) -> np.ndarray:
        quality, searched = data[:2]
        return RGB_IMAGE + np.uint8(110 - quality - self.better * searched)


def options(reports: list) -> dict:
    return {"effort": 4, "tune": "pim", "progress": lambda *report: reports.append(report)}


@pytest.mark.parametrize("factor", [0.7, 0.93, 1.0, 1.1])
@pytest.mark.parametrize("size", [1100, 3000, 9000, 17000, 10**6])
def test_the_highest_quality_that_fits(factor, size):
    codec, reports = Fake(factor), []
    found = compress_to_bytes(codec, RGB_IMAGE, size, **options(reports))
    again = Fake(factor)
    fits = [len(again.compress(RGB_IMAGE, q, **options([]))) <= size for q in range(101)]
    assert fits == sorted(fits, reverse=True)
    assert found.quality == sum(fits) - 1 if any(fits) else not found.data[1]
    assert len(found.data) <= size
    assert max(codec.searches.values()) == 1 and len(codec.searches) <= 5
    assert len(reports) == len(codec.searches)


@pytest.mark.parametrize("better", [-6, 0, 5])
@pytest.mark.parametrize("psnr", [8.0, 15.0, 23.0])
def test_the_lowest_quality_that_reaches_the_psnr(better, psnr):
    codec = Fake(0.9, better)
    found = compress_to_psnr(codec, RGB_IMAGE, psnr, **options([]))
    again = Fake(0.9, better)

    def reached(quality: int) -> bool:
        file = again.compress(RGB_IMAGE, quality, **options([]))
        error = again.decompress(file, 0, 0).astype(float) - RGB_IMAGE
        return 10.0 * np.log10(255.0**2 / np.mean(error**2)) >= psnr

    assert reached(found.quality) and found.data[1]
    assert found.quality == 0 or not reached(found.quality - 1)
    assert max(codec.searches.values()) == 1 and len(codec.searches) <= 5


def test_out_of_reach_with_an_effort_too():
    with pytest.raises(ValueError, match="bytes: 500 are too few"):
        compress_to_bytes(Fake(0.9), RGB_IMAGE, 500, **options([]))
    with pytest.raises(ValueError, match=r"28\.13 dB at quality 100: 40 are too many"):
        compress_to_psnr(Fake(0.9), RGB_IMAGE, 40.0, **options([]))
    # The single pass fits, or reaches it, and the search does not.
    found = compress_to_bytes(Fake(1.5), RGB_IMAGE, 1001, **options([]))
    assert (found.quality, found.data[1]) == (0, 0)
    found = compress_to_psnr(Fake(1.0, -20), RGB_IMAGE, 28.0, **options([]))
    assert (found.quality, found.data[1]) == (100, 0)


def test_a_real_codec():
    codec, picture = golden_codec("gained-stem4"), cropped(80, 80)
    size = len(codec.compress(picture, 60))
    found = compress_to_bytes(codec, picture, size, effort=1)
    assert found.data == codec.compress(picture, found.quality, effort=1)
    assert len(found.data) <= size < len(codec.compress(picture, found.quality + 1, effort=1))
