"""From measurements of single pictures to means and curves, and files of them."""

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
from tfc_models.evaluation.quality_metrics import SHOWN

MEAN = "mean"
NONE_SKIPPED: Mapping[str, str] = MappingProxyType({})


class Picture(NamedTuple):
    """A picture that was evaluated."""

    name: str
    width: int
    height: int


class Row(NamedTuple):
    """One picture by one codec at one setting."""

    picture: Picture
    codec: str
    kind: str
    setting: str
    figures: Figures


class Mean(NamedTuple):
    """The mean over all pictures of one codec at one setting; None where one has no value."""

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
        """All values by name."""
        values = {**self._asdict(), **self.further}
        del values["further"]
        return values


def is_kodak(pictures: Sequence[Picture]) -> bool:
    """Whether these are the 24 photos that the published figures are of, by name and size."""
    return len(pictures) == 24 and all(
        picture.name.rpartition("/")[2].startswith("kodim")
        and {picture.width, picture.height} == {768, 512}
        for picture in pictures
    )


def means(rows: Sequence[Row]) -> list[Mean]:
    """Means over the pictures, by codec and setting, in the order of the rows."""
    groups: dict[tuple[str, str, str], list[Figures]] = {}
    for row in rows:
        groups.setdefault((row.codec, row.kind, row.setting), []).append(row.figures)
    return [_mean_of(key, group) for key, group in groups.items()]


def _mean_of(key: tuple[str, str, str], group: Sequence[Figures]) -> Mean:
    def mean(name: str) -> float | None:
        return _mean([figures.value(name) for figures in group])

    further = {name: mean(name) for name in group[0].further}
    return Mean(*key, *map(mean, Mean._fields[3:-1]), further)


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one value is missing or infinite: a mean of the others is of other pictures."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.fmean(known) if len(known) == len(values) else None


def gaps(rows: Sequence[Row]) -> list[str]:
    """Missing means, and the pictures that are the reason."""
    found = []
    for metric in SHOWN.values():
        small = dict.fromkeys(
            row.picture.name
            for row in rows
            if metric.name in ("ms_ssim", *row.figures.further)
            and row.figures.value(metric.name) is None
        )
        if small:
            found.append(
                f"no mean {metric.short}, for these are too small for it: {', '.join(small)}."
            )
    equal = dict.fromkeys(row.picture.name for row in rows if math.isinf(row.figures.psnr))
    if equal:
        found.append(
            "no mean PSNR, where a picture came back unchanged, as at some "
            f"settings did {', '.join(equal)}."
        )
    return found


def curves(averages: Sequence[Mean]) -> list[Curve]:
    """A curve for each codec."""
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
    """Everything, as results.json has it. A missing or infinite value is null.

    Args:
        rows: the measurements.
        averages: their means.
        rates: BD-rates.
        left_out: pictures that failed, and why.
        contenders: the codecs, with their settings.
        skipped: codecs and metrics that are not installed, and how to install them.
    """
    pictures = dict.fromkeys(row.picture for row in rows)
    return {
        "pictures": [picture._asdict() for picture in pictures],
        "left_out": [{"name": name, "error": error} for name, error in left_out.items()],
        "codecs": [contender.record() for contender in contenders],
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped.items()],
        "means": [mean.record() for mean in averages],
        "bd_rates": [rate._asdict() for rate in rates],
        "results": [
            {
                "picture": row.picture.name,
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
    """Every measurement and then the means, as CSV; their picture is called "mean".

    The last columns are the library and the options of the codec.
    """
    of_codec = {contender.name: (contender.library, contender.options) for contender in contenders}
    names = [*Figures._fields[:-1], *(rows[0].figures.further if rows else ())]
    # Not csv's own line ends, which would be the only ones of their kind among our files.
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    heads = ["picture", "width", "height", "codec", "setting"]
    writer.writerow([*heads, *names, "library", "options"])
    for row in rows:
        values = (_cell_of(row.figures.value(name)) for name in names)
        ends = of_codec.get(row.codec, ("", ""))
        writer.writerow([*row.picture, row.codec, row.setting, *values, *ends])
    for mean in averages:
        values = (_cell_of(mean.record().get(name, "")) for name in names)
        ends = of_codec.get(mean.codec, ("", ""))
        writer.writerow([MEAN, "", "", mean.codec, mean.setting, *values, *ends])
    return buffer.getvalue()


def _cell_of(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
