"""Means, curves and result files from measurements of single images."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from tfc_models.analysis import Curve, Point
from tfc_models.analysis.curves import NONE_FURTHER
from tfc_models.evaluation.contenders import Contender
from tfc_models.evaluation.measuring import Figures
from tfc_models.evaluation.quality_metrics import table_metrics

MEAN = "mean"
NONE_SKIPPED: Mapping[str, str] = MappingProxyType({})


class MeasuredImage(NamedTuple):
    """Evaluated image."""

    name: str
    width: int
    height: int


class Row(NamedTuple):
    """Measurement of one image with one codec at one setting."""

    image: MeasuredImage
    codec: str
    kind: str
    setting: str
    figures: Figures


class Mean(NamedTuple):
    """Mean over all images of one codec at one setting; None for missing values."""

    codec: str
    kind: str
    setting: str
    bpp: float
    psnr: float | None
    ms_ssim: float | None
    encode_seconds: float
    decode_seconds: float
    further: Mapping[str, float | None] = NONE_FURTHER

    def record(self) -> dict[str, Any]:
        """Returns all values by name."""
        values = {**self._asdict(), **self.further}
        del values["further"]
        return values


def is_kodak(images: Sequence[MeasuredImage]) -> bool:
    """Returns whether the images are Kodak's 24 photos, by name and size."""
    return len(images) == 24 and all(
        image.name.rpartition("/")[2].startswith("kodim")
        and {image.width, image.height} == {768, 512}
        for image in images
    )


def means(rows: Sequence[Row]) -> list[Mean]:
    """Returns means over the images, by codec and setting, in the order of the rows."""
    groups: dict[tuple[str, str, str], list[Figures]] = {}
    for row in rows:
        groups.setdefault((row.codec, row.kind, row.setting), []).append(row.figures)
    return [_mean_of(key, group) for key, group in groups.items()]


def _mean_of(key: tuple[str, str, str], group: Sequence[Figures]) -> Mean:
    def mean(name: str) -> float | None:
        return _mean([figures.value(name) for figures in group])

    codec, kind, setting = key
    return Mean(
        codec=codec,
        kind=kind,
        setting=setting,
        bpp=statistics.fmean(figures.bpp for figures in group),
        psnr=mean("psnr"),
        ms_ssim=mean("ms_ssim"),
        encode_seconds=statistics.fmean(figures.encode_seconds for figures in group),
        decode_seconds=statistics.fmean(figures.decode_seconds for figures in group),
        further={name: mean(name) for name in group[0].further},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Returns the mean; None if a value is missing or infinite."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.fmean(known) if len(known) == len(values) else None


def gaps(rows: Sequence[Row]) -> list[str]:
    """Returns remarks on missing means, with the images that are the reason."""
    remarks = []
    for metric in table_metrics():
        small = dict.fromkeys(
            row.image.name
            for row in rows
            if metric.name in ("ms_ssim", *row.figures.further)
            and row.figures.value(metric.name) is None
        )
        if small:
            remarks.append(
                f"no mean {metric.short}, for these are too small for it: {', '.join(small)}."
            )
    equal = dict.fromkeys(row.image.name for row in rows if math.isinf(row.figures.psnr))
    if equal:
        remarks.append(
            "no mean PSNR, where an image came back unchanged, as at some "
            f"settings did {', '.join(equal)}."
        )
    return remarks


def curves(averages: Sequence[Mean]) -> list[Curve]:
    """Returns one curve per codec."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for mean in averages:
        point = Point(mean.bpp, mean.psnr, mean.ms_ssim, mean.further)
        groups.setdefault((mean.codec, mean.kind), []).append(point)
    return [Curve(name, tuple(points), kind) for (name, kind), points in groups.items()]


def document(
    rows: Sequence[Row],
    averages: Sequence[Mean],
    rates: Sequence[NamedTuple],
    left_out: Mapping[str, str],
    contenders: Sequence[Contender] = (),
    skipped: Mapping[str, str] = NONE_SKIPPED,
) -> dict[str, Any]:
    """Returns the contents of results.json. Missing or infinite values are null.

    Args:
        rows: measurements.
        averages: their means.
        rates: BD-rates.
        left_out: images that failed, with the reasons.
        contenders: codecs with their settings.
        skipped: codecs and metrics that are not installed, with the remedies.
    """
    images = dict.fromkeys(row.image for row in rows)
    return {
        "pictures": [image._asdict() for image in images],
        "left_out": [{"name": name, "error": error} for name, error in left_out.items()],
        "codecs": [contender.record() for contender in contenders],
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped.items()],
        "means": [mean.record() for mean in averages],
        "bd_rates": [rate._asdict() for rate in rates],
        "results": [
            {
                "picture": row.image.name,
                "codec": row.codec,
                "kind": row.kind,
                "setting": row.setting,
                **row.figures.record(),
            }
            for row in rows
        ],
    }


def table(
    rows: Sequence[Row], averages: Sequence[Mean], contenders: Sequence[Contender] = ()
) -> str:
    """Returns all measurements and then the means as CSV; the image of means is called "mean".

    The last columns are the library and the options of the codec.
    """
    of_codec = {contender.name: (contender.library, contender.options) for contender in contenders}
    names = [*Figures._fields[:-1], *(rows[0].figures.further if rows else ())]
    # Line ends as in the other result files.
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    heads = ["picture", "width", "height", "codec", "setting"]
    writer.writerow([*heads, *names, "library", "options"])
    for row in rows:
        values = (_cell_of(row.figures.value(name)) for name in names)
        ends = of_codec.get(row.codec, ("", ""))
        writer.writerow([*row.image, row.codec, row.setting, *values, *ends])
    for mean in averages:
        values = (_cell_of(mean.record().get(name, "")) for name in names)
        ends = of_codec.get(mean.codec, ("", ""))
        writer.writerow([MEAN, "", "", mean.codec, mean.setting, *values, *ends])
    return buffer.getvalue()


def _cell_of(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
