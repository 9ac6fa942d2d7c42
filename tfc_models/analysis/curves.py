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

from tfc_models.metrics.record import Description, decibels_of
from tfc_models.metrics.registry import METRICS as IMAGE_METRICS

PUBLISHED = pathlib.Path(__file__).parent / "published_kodak.json"
NONE_FURTHER: Mapping[str, float | None] = MappingProxyType({})


class Point(NamedTuple):
    """Rate and quality of one setting of a codec, usually means over images.

    Metrics that were not measured or have no value (MS-SSIM of a small image, PSNR of a lossless
    one) are None. `further` has other metrics by name.
    """

    bpp: float
    psnr: float | None = None
    ms_ssim: float | None = None
    further: Mapping[str, float | None] = NONE_FURTHER

    def value(self, name: str) -> float | None:
        """Returns the value of a metric by name."""
        return getattr(self, name) if name in ("psnr", "ms_ssim") else self.further.get(name)


@dataclass(frozen=True)
class Metric:
    """Metric in plots and BD-rates.

    Attributes:
        name: key of its values in a `Point`.
        title: title of axes and headings; the unit follows a comma.
        scale: conversion of a value to the drawn number.
        digits: decimals of the drawn number that matter.
        higher_is_better: False for distances.
    """

    name: str
    title: str
    scale: Callable[[float], float] = float
    digits: int = 2
    higher_is_better: bool = True

    @classmethod
    def of_record(cls, record: Description) -> Metric:
        """Returns how a metric is drawn, from its record; similarities are drawn in decibels."""
        digits = 2 if record.in_decibels else record.digits
        return cls(record.key, record.axis_title, record.scale, digits, record.higher_is_better)

    @property
    def short(self) -> str:
        """Title without brackets and unit."""
        return self.title.partition(",")[0].partition(" (")[0]

    @property
    def unit(self) -> str:
        """Unit of the drawn number; empty if it has none."""
        return self.title.partition(", ")[2]

    def of(self, point: Point) -> float | None:
        """Returns the quality of a point; None if it has none."""
        return self.quality(point.value(self.name))

    def quality(self, value: float | None) -> float | None:
        """Returns a number that grows with quality: the drawn one, or a negative distance."""
        drawn = None if value is None else self.scale(value)
        if drawn is None or not math.isfinite(drawn):
            return None
        return drawn if self.higher_is_better else -drawn

    def text(self, quality: float) -> str:
        """Returns a quality as the drawn number, with its unit."""
        drawn = quality if self.higher_is_better else -quality
        return f"{drawn:.{self.digits}f}{' ' * bool(self.unit)}{self.unit}"


decibels = decibels_of
METRICS = tuple(Metric.of_record(IMAGE_METRICS[name]) for name in ("psnr", "ms-ssim"))
"""Metrics that every curve has. MS-SSIM is in decibels, −10·log10(1 − MS-SSIM)."""


@dataclass(frozen=True)
class Curve:
    """Points of one codec over its settings.

    Attributes:
        name: name in tables and legends.
        points: points in any order.
        kind: "model", "codec" for standard codecs, or "published" for numbers from papers; plots
            draw them differently.
    """

    name: str
    points: tuple[Point, ...]
    kind: str = "codec"

    def of(self, metric: Metric) -> list[tuple[float, float]]:
        """Returns rate and quality of the points that have this metric, by rate.

        Quality grows: for a distance it is the negative.
        """
        pairs = ((point.bpp, metric.of(point)) for point in self.points)
        return sorted((bpp, quality) for bpp, quality in pairs if quality is not None)


@functools.cache
def published() -> dict[str, Curve]:
    """Returns published curves on Kodak's 24 photos, means over images, by a short name.

    The file names their source. Some have no MS-SSIM.
    """
    document = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return {
        name: Curve(item["title"], tuple(Point(*point) for point in item["points"]), "published")
        for name, item in document["curves"].items()
    }
