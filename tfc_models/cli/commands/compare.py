"""`tfc-models compare`: one picture by every codec, at the size and at the quality of ours."""

from __future__ import annotations

import argparse
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfc_models import evaluation, images
from tfc_models.analysis import Metric
from tfc_models.cli import arguments, searching
from tfc_models.cli.choosing import Chosen, metric_names, print_settings
from tfc_models.cli.errors import FAILED, CommandError, UsageError, encodable, one_line
from tfc_models.cli.loading import check_model, load_model
from tfc_models.cli.output import Reporter, print_json, print_table
from tfc_models.cli.writing import png_target, write_file
from tfc_models.codec.container import DEFAULT_QUALITY
from tfc_models.evaluation import measuring, sheet
from tfc_models.evaluation.quality_metrics import drawn

DESCRIPTION = """\
Compresses one picture with a model, then with the standard codecs to the same size, and writes
all results side by side, with an enlarged detail, into one PNG file. Prints the quality at the
size of the model's file, the size at its quality, and the settings of all codecs."""
SUFFIX = ".compare.png"
# A file that is a little larger than ours is still "the same size"; a smaller one always is.
OVER = 0.01


class _Compared(NamedTuple):
    """One codec's version of the picture.

    Attributes:
        contender: the codec, with the one setting of this version.
        pixels: the decoded picture.
        figures: size and quality.
        equal: bytes at the quality of ours, and a remark where there are none.
    """

    contender: evaluation.Contender
    pixels: np.ndarray
    figures: evaluation.Figures
    equal: tuple[float | None, str]

    @property
    def codec(self) -> str:
        return self.contender.name

    @property
    def setting(self) -> str:
        return self.contender.settings[0].label


class _Target(NamedTuple):
    """The quality of our file, which the others are brought to."""

    metric: Metric
    further: tuple[evaluation.QualityMetric, ...]
    bytes: int
    quality: float


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument("picture", metavar="RGB_IMAGE", help="picture file")
    command.add_argument(
        "-o", "--output", metavar="PNG", help="file to write (default: RGB_IMAGE.compare.png)"
    )
    command.add_argument("--force", action="store_true", help="overwrite a file that exists")
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")
    arguments.add_model(
        command, "model of the zoo (default: its default one), or a weights file", "default"
    )
    arguments.add_quality(command)
    arguments.add_effort(command)
    arguments.add_tune(command, "--effort")
    arguments.add_peers(command)
    command.add_argument(
        "--equal",
        metavar="METRIC",
        default="psnr",
        help="metric of the table of sizes at equal quality (default: %(default)s)",
    )
    arguments.add_background(command)
    arguments.add_limits(command)


def run(options: argparse.Namespace) -> int:
    """Writes a contact sheet and prints the tables."""
    source = pathlib.Path(options.picture)
    target = png_target(options, SUFFIX, "the contact sheet")
    names = metric_names(options.metrics)
    equal = (metric_names(options.equal) or ["psnr"])[0]
    reporter = Reporter("compare", options.quiet)
    searching.check(options, options.effort)
    check_model(options.model)
    try:
        limits = options.max_pixels, options.max_side
        picture = images.read(source, options.background, *limits)
    except (images.ImageError, OSError) as error:
        raise CommandError(f"{source}: {one_line(error)}") from error
    for note in picture.notes:
        reporter.line(f"{source}: {note}")
    chosen = Chosen(reporter)
    chosen.add_peers(options.codecs, options.avif_speed)
    codec = load_model(options.model)
    chosen.add_metrics(dict.fromkeys([*names, equal]), options)
    search = searching.search_options(options.effort, options.tune)
    setting = _our_setting(codec, options.quality, search)
    compared = _compare(picture.coded, codec, setting, chosen, drawn(equal), reporter)
    page = sheet.contact_sheet(
        [_original(source, picture.pixels), *_entries(compared, drawn(equal), chosen.metrics)]
    )
    write_file(target, images.encode(page, ".png"), options.force)
    if options.json:
        print_json(_document(compared, drawn(equal), chosen.skipped))
    elif not options.quiet:
        _print(compared, drawn(equal), chosen.metrics)
    reporter.line(f"{source} → {target}")
    return FAILED if reporter.failures else 0


def _our_setting(codec: Any, quality: int | None, search: dict[str, Any]) -> evaluation.Setting:
    if quality is not None and not codec.many_rates:
        raise UsageError(f"{codec.model_name} has one rate: --quality is for models of many.")
    if codec.many_rates and quality is None:
        quality = DEFAULT_QUALITY
    return evaluation.model_setting(codec, quality, **search)


def _compare(
    picture: np.ndarray,
    codec: Any,
    setting: evaluation.Setting,
    chosen: Chosen,
    metric: Metric,
    reporter: Reporter,
) -> list[_Compared]:
    """Ours first. A codec that cannot code this picture is reported and left out."""
    coded = evaluation.code(picture, setting.encode, setting.decode)
    figures = evaluation.measure(picture, coded, chosen.metrics)
    library = evaluation.model_library(codec)
    ours = evaluation.Contender(codec.model_name, "model", (setting,), library)
    compared = [_Compared(ours, coded.pixels, figures, (figures.bytes, ""))]
    target = _target(figures, metric, chosen.metrics)
    if target is None and metric.name in figures.record():
        reporter.line(f"no sizes at equal {metric.short}: that of ours has no finite value.")
    with reporter.progress(chosen.peers, "comparing") as peers:
        for peer in peers:
            try:
                compared.append(_by_peer(picture, peer, figures.bytes, target, chosen.metrics))
            except Exception as error:
                reporter.error(f"{peer.title}: {one_line(error)}")
    return compared


def _target(
    figures: evaluation.Figures, metric: Metric, metrics: Sequence[evaluation.QualityMetric]
) -> _Target | None:
    """None where our picture has no finite quality by this metric, or it was not measured."""
    further = tuple(one for one in metrics if one.shown == metric)
    known = metric.name in figures.record()
    quality = metric.quality(figures.value(metric.name)) if known else None
    return None if quality is None else _Target(metric, further, figures.bytes, quality)


def _by_peer(
    picture: np.ndarray,
    peer: evaluation.Peer,
    size: int,
    target: _Target | None,
    metrics: Sequence[evaluation.QualityMetric],
) -> _Compared:
    setting = peer.at_size(picture, size, OVER)
    point = evaluation.peer_setting(peer, setting)
    coded = evaluation.code(picture, point.encode, point.decode)
    figures = evaluation.measure(picture, coded, metrics)
    contender = evaluation.Contender(peer.title, "codec", (point,), peer.version, peer.options_text)
    equal = (None, "") if target is None else _equal_size(picture, peer, target)
    return _Compared(contender, coded.pixels, figures, equal)


def _equal_size(
    picture: np.ndarray, peer: evaluation.Peer, target: _Target
) -> tuple[float | None, str]:
    """Bytes at the quality of ours, or the reason why there are none."""
    metric = target.metric

    def trial(setting: float) -> evaluation.Trial:
        point = evaluation.peer_setting(peer, setting)
        coded = evaluation.code(picture, point.encode, point.decode)
        value = evaluation.measure(picture, coded, target.further).value(metric.name)
        quality = metric.quality(value)
        # A picture that came back unchanged.
        return evaluation.Trial(len(coded.data), math.inf if quality is None else quality)

    found = evaluation.size_at_quality(peer.settings, target.quality, trial)
    if found.bytes is not None:
        return found.bytes, " to ".join(dict.fromkeys(map(peer.label, found.settings)))
    label, reached = peer.label(found.settings[0]), found.trials[0]
    shown = metric.text(reached.quality) if math.isfinite(reached.quality) else "no loss"
    if reached.quality < target.quality:
        return None, f"out of range: {shown} at most ({label})"
    return None, f"out of range: {shown} in its smallest file, {reached.bytes:,} bytes ({label})"


def _original(source: pathlib.Path, picture: np.ndarray) -> sheet.Entry:
    height, width = picture.shape[:2]
    lines = (
        f"{encodable(source.name)}, {width}×{height}",
        f"{picture.size:,} bytes of pixels, 24 bpp",
    )
    return sheet.Entry(picture, "Original", lines)


def _entries(
    compared: Sequence[_Compared], metric: Metric, metrics: Sequence[evaluation.QualityMetric]
) -> list[sheet.Entry]:
    entries = []
    for item in compared:
        figures, (size, remark) = item.figures, item.equal
        shown = [f"{drawn(n).short} {_text(drawn(n), figures)}" for n in ("psnr", "ms-ssim")]
        lines = [f"{figures.bytes:,} bytes, {figures.bpp:.3f} bpp", ", ".join(shown)]
        others = [f"{one.shown.short} {_text(one.shown, figures)}" for one in metrics]
        # Three fit into the width of a tile.
        lines += [", ".join(others[i : i + 3]) for i in range(0, len(others), 3)]
        lines.append(item.contender.options or item.contender.library)
        if item is not compared[0] and (size or remark):
            told = f"{size:,.0f} bytes ({_relative(size, compared)})" if size else remark
            lines.append(f"at the {metric.short} of {compared[0].codec}: {told}")
        title = f"{item.codec}{', ' * bool(item.setting)}{item.setting}"
        entries.append(sheet.Entry(images.as_rgb(item.pixels), title, tuple(lines)))
    return entries


def _text(metric: Metric, figures: evaluation.Figures) -> str:
    """A value as people know it: MS-SSIM and SSIM as they are, not in decibels."""
    value = figures.value(metric.name)
    if metric.scale is float:
        unit = f" {metric.unit}" if metric.unit else ""
        return f"{measuring.figure_text(value, metric.digits)}{unit}"
    return measuring.figure_text(value, 4)


def _relative(size: float, compared: Sequence[_Compared]) -> str:
    """A size against ours, in percent."""
    return f"{100.0 * (size / compared[0].figures.bytes - 1.0):+.1f}%".replace("-", "−")


def _document(
    compared: Sequence[_Compared], metric: Metric, skipped: dict[str, str]
) -> dict[str, Any]:
    ours = compared[0].figures.record()
    sizes = [
        {"codec": item.codec, "bytes": item.equal[0], "setting": item.equal[1]} for item in compared
    ]
    return {
        "equal_size": [
            {"codec": item.codec, "setting": item.setting, **item.figures.record()}
            for item in compared
        ],
        "equal_quality": {
            "metric": metric.name,
            "value": ours.get(metric.name),
            "sizes": sizes,
        },
        "codecs": [item.contender.record() for item in compared],
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped.items()],
    }


def _print(
    compared: Sequence[_Compared], metric: Metric, metrics: Sequence[evaluation.QualityMetric]
) -> None:
    ours = compared[0]
    shown = [drawn("psnr"), drawn("ms-ssim"), *(one.shown for one in metrics)]
    columns = dict.fromkeys(("codec", "setting"), "left")
    columns.update(dict.fromkeys(("bytes", "bpp", *(one.short for one in shown)), "right"))
    print_table(
        columns,
        (
            (
                item.codec,
                item.setting,
                f"{item.figures.bytes:,}",
                f"{item.figures.bpp:.3f}",
                *(_text(one, item.figures) for one in shown),
            )
            for item in compared
        ),
        title=f"At the size of {ours.codec}",
    )
    if any(item.equal[0] or item.equal[1] for item in compared[1:]):
        _print_equal_quality(compared, metric)
    print_settings([item.contender for item in compared])


def _print_equal_quality(compared: Sequence[_Compared], metric: Metric) -> None:
    ours = compared[0]
    columns = {"codec": "left", "setting": "left", "bytes": "right", f"vs {ours.codec}": "right"}
    rows = [(ours.codec, ours.setting, f"{ours.figures.bytes:,}", "–")]
    for item in compared[1:]:
        size, setting = item.equal
        told = ("–", "–") if size is None else (f"{size:,.0f}", _relative(size, compared))
        rows.append((item.codec, setting, *told))
    print_table(
        columns,
        rows,
        title=f"At the {metric.short} of {ours.codec}: {_text(metric, ours.figures)}",
    )
