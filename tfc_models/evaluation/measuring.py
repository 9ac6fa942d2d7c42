"""Measurement of one image with one codec: file, decoded image, time and quality."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfc_models.analysis.curves import NONE_FURTHER
from tfc_models.evaluation.quality_metrics import ALWAYS, QualityMetric
from tfc_models.images import as_rgb
from tfc_models.metrics import METRICS


class Coded(NamedTuple):
    """File of an image, decoded image, and times."""

    data: bytes
    pixels: np.ndarray
    encode_seconds: float
    decode_seconds: float


class Figures(NamedTuple):
    """Size of a file and quality of its image.

    Bytes count the whole file including headers. MS-SSIM is None for images that are too small.
    PSNR is infinite for lossless files. `further` has other metrics by name, None for images that
    are too small.
    """

    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float | None
    encode_seconds: float
    decode_seconds: float
    further: Mapping[str, float | None] = NONE_FURTHER

    def value(self, metric: str) -> float | None:
        """Returns the value of a metric by name."""
        return self.further[metric] if metric in self.further else getattr(self, metric)

    def record(self) -> dict[str, Any]:
        """Returns all values by name for JSON and CSV; infinity becomes None."""
        values = {**self._asdict(), "psnr": finite(self.psnr), **self.further}
        del values["further"]
        return values


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Returns the result of a call and its seconds."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def code(
    image: np.ndarray,
    encode: Callable[[np.ndarray], bytes],
    decode: Callable[[bytes], np.ndarray],
) -> Coded:
    """Encodes and decodes an image, with the time of each."""
    data, encode_seconds = timed(lambda: encode(image))
    pixels, decode_seconds = timed(lambda: decode(data))
    if pixels.shape[:2] != image.shape[:2]:
        raise ValueError(f"{image.shape} came back as {pixels.shape}.")
    return Coded(data, pixels, encode_seconds, decode_seconds)


def measure(image: np.ndarray, coded: Coded, further: Sequence[QualityMetric] = ()) -> Figures:
    """Measures a coded image: sRGB, uint8, height × width × 3, or height × width if grey."""
    height, width = image.shape[:2]
    pair = [as_rgb(pixels) for pixels in (image, coded.pixels)]
    batches = [pixels[None] for pixels in pair]
    psnr, ms_ssim = (float(METRICS[n].of_pair(*batches)) for n in ALWAYS)
    return Figures(
        bytes=len(coded.data),
        bpp=8 * len(coded.data) / (height * width),
        psnr=psnr,
        ms_ssim=None if math.isnan(ms_ssim) else ms_ssim,
        encode_seconds=coded.encode_seconds,
        decode_seconds=coded.decode_seconds,
        further={metric.name: metric.of_pair(*pair) for metric in further},
    )


def figure_text(value: float | None, digits: int) -> str:
    """Returns a number for tables: ∞ for lossless files, a dash for None."""
    return "–" if value is None else "∞" if math.isinf(value) else f"{value:.{digits}f}"


def psnr_text(psnr: float | None) -> str:
    """Returns PSNR for tables: two digits, ∞ for lossless files."""
    return figure_text(psnr, 2)


def ms_ssim_text(ms_ssim: float | None) -> str:
    """Returns MS-SSIM for tables: four digits, a dash for None."""
    return figure_text(ms_ssim, 4)


def finite(value: float) -> float | None:
    """Returns None for infinity, which JSON does not have."""
    return value if math.isfinite(value) else None
