"""From measurements of single pictures to means, curves, BD-rates, and files of them."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from tfc_models import analysis
from tfc_models.analysis import METRICS, Curve, Metric, Point
from tfc_models.evaluation.measuring import Figures, finite

MEAN = "mean"
ON_KODAK = ("bpg444", "vtm", "ms2020", "mbt2018", "mbt2018-mean", "bmshj2018", "bls2017")
"""Published curves that are drawn beside ours; the others are of codecs that we run."""
KODAK_ANCHOR = "bpg444"
"""What papers of this field compute BD-rates against."""


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


class BDRate(NamedTuple):
    """A curve against another one: percent, or why there is no such number."""

    metric: str
    codec: str
    anchor: str
    percent: float | None
    reason: str = ""


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
    return [
        Mean(*key, *(_mean([getattr(f, name) for f in group]) for name in Figures._fields[1:]))
        for key, group in groups.items()
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one value is missing or infinite: a mean of the others is of other pictures."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.fmean(known) if len(known) == len(values) else None


def gaps(rows: Sequence[Row]) -> list[str]:
    """Where means are missing, and because of which pictures."""
    small = dict.fromkeys(row.picture.name for row in rows if row.figures.ms_ssim is None)
    equal = dict.fromkeys(row.picture.name for row in rows if math.isinf(row.figures.psnr))
    found = []
    if small:
        found.append(f"no mean MS-SSIM, for these are too small for it: {', '.join(small)}.")
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
        point = Point(mean.bpp, mean.psnr, mean.ms_ssim)
        groups.setdefault((mean.codec, mean.kind), []).append(point)
    return [Curve(name, tuple(points), kind) for (name, kind), points in groups.items()]


def published_beside(pictures: Sequence[Picture]) -> list[Curve]:
    """The published curves that can be drawn beside those of these pictures."""
    known = analysis.published()
    return [known[name] for name in ON_KODAK] if is_kodak(pictures) else []


def bd_rates(measured: Sequence[Curve], published: Sequence[Curve]) -> list[BDRate]:
    """Every curve against every codec that is not ours, and against the usual published one."""
    usual = analysis.published()[KODAK_ANCHOR].name
    anchors = [curve for curve in measured if curve.kind == "codec"]
    anchors += [curve for curve in published if curve.name == usual]
    return [
        _bd_rate(metric, curve, anchor)
        for metric in METRICS
        if any(curve.of(metric) for curve in measured)
        for curve in (*measured, *published)
        # Not published with this metric: nothing to say.
        if curve.kind != "published" or curve.of(metric)
        for anchor in anchors
    ]


def against_published(measured: Sequence[Curve], pictures: Sequence[Picture]) -> list[BDRate]:
    """Our models against every published curve, where the pictures are those of the figures."""
    if not is_kodak(pictures):
        return []
    return [
        _bd_rate(metric, curve, anchor)
        for metric in METRICS
        for anchor in analysis.published().values()
        if anchor.of(metric)
        for curve in measured
        if curve.kind == "model" and curve.of(metric)
    ]


def published_tables(rates: Sequence[BDRate]) -> dict[str, list[list[str]]]:
    """For each metric's title a table of our models, one row per published curve."""
    tables: dict[str, list[list[str]]] = {}
    for metric in METRICS:
        rows: dict[str, dict[str, str]] = {}
        for rate in (rate for rate in rates if rate.metric == metric.name):
            rows.setdefault(rate.anchor, {})[rate.codec] = _percent(rate)
        if rows:
            headings = ["against", *next(iter(rows.values()))]
            tables[metric.title] = [
                headings,
                *([anchor, *c.values()] for anchor, c in rows.items()),
            ]
    return tables


def _percent(rate: BDRate) -> str:
    return "–" if rate.percent is None else f"{rate.percent:+.1f}%".replace("-", "−")


def _bd_rate(metric: Metric, curve: Curve, anchor: Curve) -> BDRate:
    names = metric.name, curve.name, anchor.name
    if curve is anchor:
        return BDRate(*names, 0.0)
    title = metric.title.partition(" (")[0]
    for either in (curve, anchor):
        paying = len(analysis.pareto(either.of(metric)))
        if paying < 2:
            reason = f"a curve needs two points, and {either.name} has {paying} with {title}."
            return BDRate(*names, None, reason)
    try:
        return BDRate(*names, analysis.bd_rate(anchor.of(metric), curve.of(metric)))
    except analysis.NoOverlapError as error:
        spans = [f"{low:.2f} to {high:.2f} dB" for low, high in (error.test, error.anchor)]
        return BDRate(
            *names,
            None,
            f"no common range of {title}: {curve.name} has {spans[0]}, {anchor.name} {spans[1]}.",
        )


def bd_tables(rates: Sequence[BDRate]) -> dict[str, list[list[str]]]:
    """For each metric's title the rows of a table, headings first.

    A cell without a number refers to a note; see `bd_notes`.
    """
    notes, tables = bd_notes(rates), {}
    for metric in METRICS:
        of_metric = [rate for rate in rates if rate.metric == metric.name]
        lines: dict[str, dict[str, str]] = {}
        for rate in of_metric:
            lines.setdefault(rate.codec, {})[rate.anchor] = _cell(rate, notes)
        if lines:
            headings = [f"against {anchor}" for anchor in next(iter(lines.values()))]
            rows = [[codec, *cells.values()] for codec, cells in lines.items()]
            tables[metric.title] = [["", *headings], *rows]
    return tables


def bd_notes(rates: Sequence[BDRate]) -> list[str]:
    """Why there is no BD-rate, where there is none; each reason once."""
    return list(dict.fromkeys(rate.reason for rate in rates if rate.reason))


def _cell(rate: BDRate, notes: Sequence[str]) -> str:
    if rate.percent is None:
        return f"none ({notes.index(rate.reason) + 1})"
    return "–" if rate.codec == rate.anchor else _percent(rate)


def bd_markdown(
    rates: Sequence[BDRate], about: str, beside_published: Sequence[BDRate] = ()
) -> str:
    """The BD-rate tables as a Markdown document."""
    lines = [
        "# BD-rate",
        "",
        f"{about} How much more rate a codec needs than another for the same quality, on "
        "average over the qualities that both reach (PCHIP of the log-rate): less than 0 is "
        "better.",
    ]
    for title, (headings, *rows) in bd_tables(rates).items():
        lines += ["", f"## {title}", "", _markdown_row(headings)]
        lines += ["|---|" + "---:|" * (len(headings) - 1), *map(_markdown_row, rows)]
    notes = bd_notes(rates)
    lines += ["", *(f"({i}) {note}  " for i, note in enumerate(notes, 1))] if notes else []
    lines += [] if rates else ["", "No codec was there to compare with."]
    for title, (headings, *rows) in published_tables(beside_published).items():
        lines += ["", f"## {title}, our models against published results", ""]
        lines += [_markdown_row(headings), "|---|" + "---:|" * (len(headings) - 1)]
        lines += map(_markdown_row, rows)
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def document(
    rows: Sequence[Row],
    averages: Sequence[Mean],
    rates: Sequence[BDRate],
    left_out: dict[str, str],
) -> dict[str, Any]:
    """Everything, as results.json has it. What has no value (infinity too) is null."""
    pictures = dict.fromkeys(row.picture for row in rows)
    return {
        "pictures": [picture._asdict() for picture in pictures],
        "left_out": [{"name": name, "error": error} for name, error in left_out.items()],
        "means": [mean._asdict() for mean in averages],
        "bd_rates": [rate._asdict() for rate in rates],
        "results": [
            {
                "picture": row.picture.name,
                "codec": row.codec,
                "kind": row.kind,
                "setting": row.setting,
                **row.figures._asdict(),
                "psnr": finite(row.figures.psnr),
            }
            for row in rows
        ],
    }


def table(rows: Sequence[Row], averages: Sequence[Mean]) -> str:
    """Every measurement and then the means, as CSV; their picture is called "mean"."""
    # Not csv's own line ends, which would be the only ones of their kind among our files.
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["picture", "width", "height", "codec", "setting", *Figures._fields])
    for row in rows:
        writer.writerow([*row.picture, row.codec, row.setting, *map(_cell_of, row.figures)])
    for mean in averages:
        figures = map(_cell_of, mean[3:])
        writer.writerow([MEAN, "", "", mean.codec, mean.setting, "", *figures])
    return buffer.getvalue()


def _cell_of(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
