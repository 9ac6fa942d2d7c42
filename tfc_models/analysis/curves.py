"""Rate-distortion curves, measured and published."""

from __future__ import annotations

import functools
import json
import math
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

PUBLISHED = pathlib.Path(__file__).parent / "published_kodak.json"


class Point(NamedTuple):
    """What one setting of a codec costs and gives, as a rule the mean over pictures.

    A metric that was not measured, or has no value (MS-SSIM of a tiny picture, the PSNR of an
    equal one), is None.
    """

    bpp: float
    psnr: float | None = None
    ms_ssim: float | None = None


@dataclass(frozen=True)
class Metric:
    """A quality to draw and to compare by."""

    name: str
    title: str
    scale: Callable[[float], float]

    def of(self, point: Point) -> float | None:
        """The quality of a point on this metric's scale; None where it has none."""
        value = getattr(point, self.name)
        value = None if value is None else self.scale(value)
        return None if value is None or not math.isfinite(value) else value


def _decibels(similarity: float) -> float:
    return -10.0 * math.log10(1.0 - similarity) if similarity < 1.0 else math.inf


METRICS = (
    Metric("psnr", "PSNR (RGB), dB", float),
    # From 0.95 to 0.99 is as far as from 0.75 to 0.95: only the logarithm shows that.
    Metric("ms_ssim", "MS-SSIM (RGB), dB", _decibels),
)
"""What curves are compared by. MS-SSIM is in decibels, −10·log10(1 − MS-SSIM)."""


@dataclass(frozen=True)
class Curve:
    """The points of one codec over its settings.

    Attributes:
        name: for tables and legends.
        points: in any order.
        kind: "model" for ours, "codec" for what it is held against, "published" for figures
            out of papers; plots draw them differently.
    """

    name: str
    points: tuple[Point, ...]
    kind: str = "codec"

    def of(self, metric: Metric) -> list[tuple[float, float]]:
        """Rate and quality of the points that have this metric, by rate."""
        pairs = ((point.bpp, metric.of(point)) for point in self.points)
        return sorted((bpp, quality) for bpp, quality in pairs if quality is not None)


@functools.cache
def published() -> dict[str, Curve]:
    """Published curves on Kodak's 24 photos, means over pictures, by a short name.

    Their source is named in the file. MS-SSIM was not published with all of them.
    """
    document = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return {
        name: Curve(item["title"], tuple(Point(*point) for point in item["points"]), "published")
        for name, item in document["curves"].items()
    }
