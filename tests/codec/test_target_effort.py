"""Size and PSNR targets with an encoder effort."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from tests.conftest import cropped, golden_codec
from tfc_models.codec import compress_to_bytes, compress_to_psnr

RGB_IMAGE = np.full([300, 300, 3], 100, np.uint8)


class Fake:
    """Codec with files of chosen sizes and errors, which counts its searches.

    Args:
        factor: factor of the size by which a search changes it.
        better: grey levels by which a search changes the error.
    """

    many_rates = True

    def __init__(self, factor: float, better: int = 0) -> None:
        self.factor, self.better = factor, better
        self.searches: collections.Counter[int] = collections.Counter()

    def compress(self, image, quality, effort=0, tune=None, progress=None) -> bytes:
        size = 1000.0 * 1.03**quality + quality % 3
        if effort:
            assert (effort, tune) == (4, "pim")
            self.searches[quality] += 1
            progress(1, 1)
            # The ratio differs between qualities.
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
    result = compress_to_bytes(codec, RGB_IMAGE, size, **options(reports))
    again = Fake(factor)
    fits = [len(again.compress(RGB_IMAGE, q, **options([]))) <= size for q in range(101)]
    assert fits == sorted(fits, reverse=True)
    assert result.quality == sum(fits) - 1 if any(fits) else not result.data[1]
    assert len(result.data) <= size
    assert max(codec.searches.values()) == 1 and len(codec.searches) <= 5
    assert len(reports) == len(codec.searches)


@pytest.mark.parametrize("better", [-6, 0, 5])
@pytest.mark.parametrize("psnr", [8.0, 15.0, 23.0])
def test_the_lowest_quality_that_reaches_the_psnr(better, psnr):
    codec = Fake(0.9, better)
    result = compress_to_psnr(codec, RGB_IMAGE, psnr, **options([]))
    again = Fake(0.9, better)

    def reached(quality: int) -> bool:
        file = again.compress(RGB_IMAGE, quality, **options([]))
        error = again.decompress(file, 0, 0).astype(float) - RGB_IMAGE
        return 10.0 * np.log10(255.0**2 / np.mean(error**2)) >= psnr

    assert reached(result.quality) and result.data[1]
    assert result.quality == 0 or not reached(result.quality - 1)
    assert max(codec.searches.values()) == 1 and len(codec.searches) <= 5


def test_unreachable_targets_are_refused_with_effort():
    with pytest.raises(ValueError, match="target of 500 bytes is too small"):
        compress_to_bytes(Fake(0.9), RGB_IMAGE, 500, **options([]))
    with pytest.raises(
        ValueError, match=r"28\.13 dB at quality 100: the target of 40 dB is too high"
    ):
        compress_to_psnr(Fake(0.9), RGB_IMAGE, 40.0, **options([]))
    # The single pass reaches the target and the search does not.
    result = compress_to_bytes(Fake(1.5), RGB_IMAGE, 1001, **options([]))
    assert (result.quality, result.data[1]) == (0, 0)
    result = compress_to_psnr(Fake(1.0, -20), RGB_IMAGE, 28.0, **options([]))
    assert (result.quality, result.data[1]) == (100, 0)


def test_targets_of_a_real_codec_are_met():
    codec, image = golden_codec("gained-stem4"), cropped(80, 80)
    size = len(codec.compress(image, 60))
    result = compress_to_bytes(codec, image, size, effort=1)
    assert result.data == codec.compress(image, result.quality, effort=1)
    assert len(result.data) <= size < len(codec.compress(image, result.quality + 1, effort=1))
