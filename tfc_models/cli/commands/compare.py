"""`tfc-models compare`: compares codecs on one image, at equal size and at equal quality."""

from __future__ import annotations

import argparse
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfc_models import evaluation, images
from tfc_models.analysis import Metric
from tfc_models.cli import arguments, search_options
from tfc_models.cli.codec_selection import Selection, metric_names, print_settings
from tfc_models.cli.errors import FAILED, CommandError, UsageError, encodable, one_line
from tfc_models.cli.loading import check_model, load_model
from tfc_models.cli.output import Reporter, print_json, print_table
from tfc_models.cli.output_files import png_target, write_file
from tfc_models.codec.container import DEFAULT_QUALITY
from tfc_models.evaluation import measuring, sheet
from tfc_models.evaluation.quality_metrics import table_metric

DESCRIPTION = """\
Compresses one image with a model, then with the standard codecs to the same size. Writes all
results with an enlarged crop to one PNG file. Prints the quality at the size of the model's file,
the size at its quality, and the settings of all codecs."""
SUFFIX = ".compare.png"
# Other codecs may exceed the model's file size by this fraction.
SIZE_TOLERANCE = 0.01


class _CodecResult(NamedTuple):
    """Result of one codec.

    Attributes:
        contender: the codec with its setting.
        pixels: decoded image.
        figures: size and quality.
        equal: bytes at the quality of the model's file, or None; and the setting or the reason.
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
    """Quality of the model's file, which the other codecs must match."""

    metric: Metric
    further: tuple[evaluation.QualityMetric, ...]
    bytes: int
    quality: float


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument("picture", metavar="RGB_IMAGE", help="image file")
    command.add_argument(
        "-o", "--output", metavar="PNG", help="file to write (default: RGB_IMAGE.compare.png)"
    )
    command.add_argument("--force", action="store_true", help="overwrite an existing file")
    command.add_argument("--quiet", action="store_true", help="print errors only")
    arguments.add_model(
        command, "model name or weights file (default: the zoo's default model)", "default"
    )
    arguments.add_quality(command)
    arguments.add_effort(command)
    arguments.add_tune(command, "--effort")
    arguments.add_peers(command)
    command.add_argument(
        "--equal",
        metavar="METRIC",
        default="psnr",
        help="metric that defines equal quality (default: %(default)s)",
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
    search_options.check_tune(options, options.effort)
    check_model(options.model)
    try:
        limits = options.max_pixels, options.max_side
        image = images.read(source, options.background, *limits)
    except (images.ImageError, OSError) as error:
        raise CommandError(f"{source}: {one_line(error)}") from error
    for note in image.notes:
        reporter.line(f"{source}: {note}")
    selection = Selection(reporter)
    selection.add_peers(options.codecs, options.avif_speed)
    codec = load_model(options.model)
    selection.add_metrics(dict.fromkeys([*names, equal]), options)
    search = search_options.compress_arguments(options.effort, options.tune)
    setting = _model_setting(codec, options.quality, search)
    results = _compare(image.coded, codec, setting, selection, table_metric(equal), reporter)
    page = sheet.contact_sheet(
        [
            _original(source, image.pixels),
            *_entries(results, table_metric(equal), selection.metrics),
        ]
    )
    write_file(target, images.encode(page, ".png"), options.force)
    if options.json:
        print_json(_document(results, table_metric(equal), selection.skipped))
    elif not options.quiet:
        _print(results, table_metric(equal), selection.metrics)
    reporter.line(f"{source} → {target}")
    return FAILED if reporter.failures else 0


def _model_setting(codec: Any, quality: int | None, search: dict[str, Any]) -> evaluation.Setting:
    if quality is not None and not codec.many_rates:
        raise UsageError(f"{codec.model_name} has a fixed rate and does not support --quality.")
    if codec.many_rates and quality is None:
        quality = DEFAULT_QUALITY
    return evaluation.model_setting(codec, quality, **search)


def _compare(
    pixels: np.ndarray,
    codec: Any,
    setting: evaluation.Setting,
    selection: Selection,
    metric: Metric,
    reporter: Reporter,
) -> list[_CodecResult]:
    """Returns the results, the model's first. A codec that fails is reported and skipped."""
    coded = evaluation.code(pixels, setting.encode, setting.decode)
    figures = evaluation.measure(pixels, coded, selection.metrics)
    library = evaluation.model_library(codec)
    contender = evaluation.Contender(codec.model_name, "model", (setting,), library)
    results = [_CodecResult(contender, coded.pixels, figures, (figures.bytes, ""))]
    target = _target(figures, metric, selection.metrics)
    if target is None and metric.name in figures.record():
        reporter.line(f"no sizes at equal {metric.short}: the model's value is not finite.")
    with reporter.progress(selection.peers, "comparing") as peers:
        for peer in peers:
            try:
                results.append(_peer_result(pixels, peer, figures.bytes, target, selection.metrics))
            except Exception as error:
                reporter.error(f"{peer.title}: {one_line(error)}")
    return results


def _target(
    figures: evaluation.Figures, metric: Metric, metrics: Sequence[evaluation.QualityMetric]
) -> _Target | None:
    """Returns the quality to match; None if it is infinite or was not measured."""
    further = tuple(one for one in metrics if one.shown == metric)
    known = metric.name in figures.record()
    quality = metric.quality(figures.value(metric.name)) if known else None
    return None if quality is None else _Target(metric, further, figures.bytes, quality)


def _peer_result(
    pixels: np.ndarray,
    peer: evaluation.Peer,
    size: int,
    target: _Target | None,
    metrics: Sequence[evaluation.QualityMetric],
) -> _CodecResult:
    setting = peer.at_size(pixels, size, SIZE_TOLERANCE)
    point = evaluation.peer_setting(peer, setting)
    coded = evaluation.code(pixels, point.encode, point.decode)
    figures = evaluation.measure(pixels, coded, metrics)
    contender = evaluation.Contender(peer.title, "codec", (point,), peer.version, peer.options_text)
    equal = (None, "") if target is None else _equal_size(pixels, peer, target)
    return _CodecResult(contender, coded.pixels, figures, equal)


def _equal_size(
    pixels: np.ndarray, peer: evaluation.Peer, target: _Target
) -> tuple[float | None, str]:
    """Returns the bytes at the target quality with the setting, or None with the reason."""
    metric = target.metric

    def trial(setting: float) -> evaluation.Trial:
        point = evaluation.peer_setting(peer, setting)
        coded = evaluation.code(pixels, point.encode, point.decode)
        value = evaluation.measure(pixels, coded, target.further).value(metric.name)
        quality = metric.quality(value)
        # The quality of an unchanged image is infinite.
        return evaluation.Trial(len(coded.data), math.inf if quality is None else quality)

    result = evaluation.size_at_quality(peer.settings, target.quality, trial)
    if result.bytes is not None:
        return result.bytes, " to ".join(dict.fromkeys(map(peer.label, result.settings)))
    label, reached = peer.label(result.settings[0]), result.trials[0]
    text = metric.text(reached.quality) if math.isfinite(reached.quality) else "no loss"
    if reached.quality < target.quality:
        return None, f"out of range: {text} at most ({label})"
    return None, f"out of range: {text} in its smallest file, {reached.bytes:,} bytes ({label})"


def _original(source: pathlib.Path, pixels: np.ndarray) -> sheet.Entry:
    height, width = pixels.shape[:2]
    lines = (
        f"{encodable(source.name)}, {width}×{height}",
        f"{pixels.size:,} bytes of pixels, 24 bpp",
    )
    return sheet.Entry(pixels, "Original", lines)


def _entries(
    results: Sequence[_CodecResult], metric: Metric, metrics: Sequence[evaluation.QualityMetric]
) -> list[sheet.Entry]:
    entries = []
    for item in results:
        figures, (size, remark) = item.figures, item.equal
        shown = [
            f"{table_metric(n).short} {_text(table_metric(n), figures)}"
            for n in ("psnr", "ms-ssim")
        ]
        lines = [f"{figures.bytes:,} bytes, {figures.bpp:.3f} bpp", ", ".join(shown)]
        others = [f"{one.shown.short} {_text(one.shown, figures)}" for one in metrics]
        # The width of a tile holds three values.
        lines += [", ".join(others[i : i + 3]) for i in range(0, len(others), 3)]
        lines.append(item.contender.options or item.contender.library)
        if item is not results[0] and (size or remark):
            text = f"{size:,.0f} bytes ({_relative(size, results)})" if size else remark
            lines.append(f"at the {metric.short} of {results[0].codec}: {text}")
        title = f"{item.codec}{', ' * bool(item.setting)}{item.setting}"
        entries.append(sheet.Entry(images.as_rgb(item.pixels), title, tuple(lines)))
    return entries


def _text(metric: Metric, figures: evaluation.Figures) -> str:
    """Formats a value in its usual unit: MS-SSIM and SSIM are not converted to decibels."""
    value = figures.value(metric.name)
    if metric.scale is float:
        unit = f" {metric.unit}" if metric.unit else ""
        return f"{measuring.figure_text(value, metric.digits)}{unit}"
    return measuring.figure_text(value, 4)


def _relative(size: float, results: Sequence[_CodecResult]) -> str:
    """Formats the difference from the model's size, in percent."""
    return f"{100.0 * (size / results[0].figures.bytes - 1.0):+.1f}%".replace("-", "−")


def _document(
    results: Sequence[_CodecResult], metric: Metric, skipped: dict[str, str]
) -> dict[str, Any]:
    model = results[0].figures.record()
    sizes = [
        {"codec": item.codec, "bytes": item.equal[0], "setting": item.equal[1]} for item in results
    ]
    return {
        "equal_size": [
            {"codec": item.codec, "setting": item.setting, **item.figures.record()}
            for item in results
        ],
        "equal_quality": {
            "metric": metric.name,
            "value": model.get(metric.name),
            "sizes": sizes,
        },
        "codecs": [item.contender.record() for item in results],
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped.items()],
    }


def _print(
    results: Sequence[_CodecResult], metric: Metric, metrics: Sequence[evaluation.QualityMetric]
) -> None:
    model = results[0]
    shown = [table_metric("psnr"), table_metric("ms-ssim"), *(one.shown for one in metrics)]
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
            for item in results
        ),
        title=f"At the size of {model.codec}",
    )
    if any(item.equal[0] or item.equal[1] for item in results[1:]):
        _print_equal_quality(results, metric)
    print_settings([item.contender for item in results])


def _print_equal_quality(results: Sequence[_CodecResult], metric: Metric) -> None:
    model = results[0]
    columns = {
        "codec": "left",
        "setting": "left",
        "bytes": "right",
        f"vs {model.codec}": "right",
    }
    rows = [(model.codec, model.setting, f"{model.figures.bytes:,}", "–")]
    for item in results[1:]:
        size, setting = item.equal
        cells = ("–", "–") if size is None else (f"{size:,.0f}", _relative(size, results))
        rows.append((item.codec, setting, *cells))
    print_table(
        columns,
        rows,
        title=f"At the {metric.short} of {model.codec}: {_text(metric, model.figures)}",
    )
