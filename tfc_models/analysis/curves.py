"""Rate-distortion curves, measured and published."""

from __future__ import annotations

import functools
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

PUBLISHED = pathlib.Path(__file__).parent / "published_kodak.json"
NONE_FURTHER: Mapping[str, float | None] = MappingProxyType({})


class Point(NamedTuple):
    """Rate and quality of one setting of a codec, as a rule means over pictures.

    A metric that was not measured, or has no value (MS-SSIM of a tiny picture, the PSNR of an
    equal one), is None. `further` holds other metrics by name.
    """

    bpp: float
    psnr: float | None = None
    ms_ssim: float | None = None
    further: Mapping[str, float | None] = NONE_FURTHER

    def value(self, name: str) -> float | None:
        """The value of a metric by name."""
        return getattr(self, name) if name in ("psnr", "ms_ssim") else self.further.get(name)


@dataclass(frozen=True)
class Metric:
    """A metric to draw and to compare by.

    Attributes:
        name: key of its values in a `Point`.
        title: for axes and headings; what follows a comma is the unit.
        scale: value to the number that is drawn.
        digits: decimals of the drawn number that matter.
        higher_is_better: False for distances.
    """

    name: str
    title: str
    scale: Callable[[float], float] = float
    digits: int = 2
    higher_is_better: bool = True

    @property
    def short(self) -> str:
        """The title without what is in brackets and without the unit."""
        return self.title.partition(",")[0].partition(" (")[0]

    @property
    def unit(self) -> str:
        """Unit of the drawn number; empty without one."""
        return self.title.partition(", ")[2]

    def of(self, point: Point) -> float | None:
        """The quality of a point; None where it has none."""
        return self.quality(point.value(self.name))

    def quality(self, value: float | None) -> float | None:
        """A number that grows with quality: the drawn one, or a distance's negative."""
        drawn = None if value is None else self.scale(value)
        if drawn is None or not math.isfinite(drawn):
            return None
        return drawn if self.higher_is_better else -drawn

    def text(self, quality: float) -> str:
        """A quality as the drawn number, with its unit."""
        drawn = quality if self.higher_is_better else -quality
        return f"{drawn:.{self.digits}f}{' ' * bool(self.unit)}{self.unit}"


def decibels(similarity: float) -> float:
    """A similarity of 0 to 1 on the scale −10·log10(1 − similarity)."""
    return -10.0 * math.log10(1.0 - similarity) if similarity < 1.0 else math.inf


METRICS = (
    Metric("psnr", "PSNR (RGB), dB"),
    # From 0.95 to 0.99 is as far as from 0.75 to 0.95: only the logarithm shows that.
    Metric("ms_ssim", "MS-SSIM (RGB), dB", decibels),
)
"""Metrics that every curve has. MS-SSIM is in decibels, −10·log10(1 − MS-SSIM)."""


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
        """Rate and quality of the points that have this metric, by rate.

        Quality grows: of a metric for which lower is better it is the negative.
        """
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
