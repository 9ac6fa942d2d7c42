"""BD-rates between the curves of an evaluation, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tfc_models import analysis
from tfc_models.analysis import Curve, Metric
from tfc_models.evaluation.contenders import Contender
from tfc_models.evaluation.quality_metrics import table_metrics
from tfc_models.evaluation.results import MeasuredImage, is_kodak

ON_KODAK = ("bpg444", "vtm", "ms2020", "mbt2018", "mbt2018-mean", "bmshj2018", "bls2017")
"""Published curves that plots show; the others belong to codecs that are measured."""
KODAK_ANCHOR = "bpg444"
"""The usual anchor of BD-rates in papers."""


class BDRate(NamedTuple):
    """Comparison of two curves: percent, or the reason why there is no number."""

    metric: str
    codec: str
    anchor: str
    percent: float | None
    reason: str = ""


def published_beside(images: Sequence[MeasuredImage]) -> list[Curve]:
    """Returns the published curves for the same images."""
    known = analysis.published()
    return [known[name] for name in ON_KODAK] if is_kodak(images) else []


def bd_rates(measured: Sequence[Curve], published: Sequence[Curve]) -> list[BDRate]:
    """Returns the BD-rate of every curve against every standard codec and the published anchor.

    The list has one entry per metric that was measured.
    """
    usual = analysis.published()[KODAK_ANCHOR].name
    anchors = [curve for curve in measured if curve.kind == "codec"]
    anchors += [curve for curve in published if curve.name == usual]
    return [
        _bd_rate(metric, curve, anchor)
        for metric in table_metrics()
        if any(curve.of(metric) for curve in measured)
        for curve in (*measured, *published)
        for anchor in anchors
        # Published curves lack most metrics.
        if all(c.kind != "published" or c.of(metric) for c in (curve, anchor))
    ]


def against_published(measured: Sequence[Curve], images: Sequence[MeasuredImage]) -> list[BDRate]:
    """Returns BD-rates of models against published curves, if the images are Kodak's."""
    if not is_kodak(images):
        return []
    return [
        _bd_rate(metric, curve, anchor)
        for metric in table_metrics()
        for anchor in analysis.published().values()
        if anchor.of(metric)
        for curve in measured
        if curve.kind == "model" and curve.of(metric)
    ]


def published_tables(rates: Sequence[BDRate]) -> dict[str, list[list[str]]]:
    """Returns tables by metric title: one column per model, one row per published curve."""
    tables: dict[str, list[list[str]]] = {}
    for metric in table_metrics():
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
    for either in (curve, anchor):
        paying = len(analysis.pareto(either.of(metric)))
        if paying < 2:
            reason = (
                f"a curve needs two points, and {either.name} has {paying} with {metric.short}."
            )
            return BDRate(*names, None, reason)
    try:
        return BDRate(*names, analysis.bd_rate(anchor.of(metric), curve.of(metric)))
    except analysis.NoOverlapError as error:
        spans = [_span(metric, *ends) for ends in (error.test, error.anchor)]
        reason = (
            f"no common range of {metric.short}: {curve.name} has {spans[0]}, "
            f"{anchor.name} {spans[1]}."
        )
        return BDRate(*names, None, reason)


def _span(metric: Metric, low: float, high: float) -> str:
    """Returns a range of qualities with one unit."""
    first = metric.text(low).removesuffix(metric.unit).rstrip()
    return f"{first} to {metric.text(high)}"


def bd_tables(rates: Sequence[BDRate]) -> dict[str, list[list[str]]]:
    """Returns tables by metric title, headings first.

    A cell without a number refers to a note; see `bd_notes`.
    """
    notes, tables = bd_notes(rates), {}
    for metric in table_metrics():
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
    """Returns the reasons for missing BD-rates, each once."""
    return list(dict.fromkeys(rate.reason for rate in rates if rate.reason))


def falling_quality(measured: Sequence[Curve]) -> list[str]:
    """Returns notes on curves whose quality does not always grow with rate."""
    notes = []
    for metric in table_metrics():
        for curve in measured:
            points = curve.of(metric)
            worse = len(points) - len(analysis.pareto(points))
            if worse:
                notes.append(
                    f"{metric.short} of {curve.name}: {worse} of {len(points)} points are no "
                    "better than cheaper ones; BD-rates are without them."
                )
    return notes


def _cell(rate: BDRate, notes: Sequence[str]) -> str:
    if rate.percent is None:
        return f"none ({notes.index(rate.reason) + 1})"
    return "–" if rate.codec == rate.anchor else _percent(rate)


def bd_markdown(
    rates: Sequence[BDRate],
    about: str,
    beside_published: Sequence[BDRate] = (),
    remarks: Sequence[str] = (),
    contenders: Sequence[Contender] = (),
) -> str:
    """Returns the BD-rate tables as a Markdown document, with the settings of the codecs.

    Args:
        rates: BD-rates of the measured curves.
        about: sentence about the images.
        beside_published: BD-rates of models against published curves.
        remarks: sentences about the results.
        contenders: the codecs.
    """
    lines = [
        "# BD-rate",
        "",
        f"{about} Difference in rate at the same quality, averaged over the qualities that both "
        "codecs reach (PCHIP of the log-rate): less than 0 is better.",
    ]
    for title, (headings, *rows) in bd_tables(rates).items():
        lines += ["", f"## {title}", "", *_markdown(headings, rows)]
    notes = bd_notes(rates)
    lines += ["", *(f"({i}) {note}  " for i, note in enumerate(notes, 1))] if notes else []
    lines += [] if rates else ["", "No codec was there to compare with."]
    for title, (headings, *rows) in published_tables(beside_published).items():
        lines += ["", f"## {title}, our models against published results", ""]
        lines += _markdown(headings, rows)
    lines += ["", "## Remarks", "", *(f"- {remark}" for remark in remarks)] if remarks else []
    if contenders:
        headings, *rows = settings_table(contenders)
        lines += ["", "## Settings", "", *_markdown(headings, rows, "---")]
    return "\n".join(lines) + "\n"


def settings_table(contenders: Sequence[Contender]) -> list[list[str]]:
    """Returns a table of the codecs' settings, headings first."""
    headings = ["codec", "library", "options", "settings"]
    return [headings, *([c.name, c.library, c.options, _range(c)] for c in contenders)]


def _range(contender: Contender) -> str:
    """Returns the first and the last setting."""
    labels = [setting.label for setting in contender.settings]
    return " to ".join(dict.fromkeys((labels[0], labels[-1])))


def _markdown(
    headings: Sequence[str], rows: Sequence[Sequence[str]], rule: str = "---:"
) -> list[str]:
    """Returns a table whose first column is text; `rule` aligns the others."""
    rules = f"|---|{f'{rule}|' * (len(headings) - 1)}"
    return [_markdown_row(headings), rules, *map(_markdown_row, rows)]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
