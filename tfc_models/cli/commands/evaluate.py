"""`tfc-models evaluate`: measures codecs on a folder of images; writes tables and plots."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

import tfc_models
from tfc_models import analysis, evaluation, images, remote
from tfc_models.cli import arguments, search_options
from tfc_models.cli.codec_selection import Selection, metric_names, peer_names, print_settings
from tfc_models.cli.errors import FAILED, CommandError, UsageError, encodable, one_line
from tfc_models.cli.loading import check_model, load_model, silence_tensorflow
from tfc_models.cli.output import Reporter, print_json, print_table
from tfc_models.cli.output_files import make_folder, write_file
from tfc_models.cli.plan import InputFile, find_inputs
from tfc_models.evaluation.quality_metrics import table_metrics
from tfc_models.zoo import DEFAULT

DESCRIPTION = """\
Measures codecs on a folder of images: bits per pixel of actual files with headers, PSNR, MS-SSIM,
further metrics and seconds, per image and on average. Writes tables (CSV, JSON), plots (PNG, SVG),
BD-rates by every metric and the settings of all codecs to a folder. To resume an interrupted run,
give the same command again. Codecs and metrics that are not installed are skipped and reported
with the command that installs them."""
JOURNAL = "journal.jsonl"
TABLES = ("results.csv", "results.json", "bd_rate.md")


class _Model(NamedTuple):
    """Rate-distortion curve of models: its name and the models on it."""

    name: str
    parts: tuple[str, ...]


class _Results(NamedTuple):
    """Measurements, measured codecs, and what was left out or skipped, with reasons."""

    rows: list[evaluation.Row]
    contenders: list[evaluation.Contender]
    left_out: dict[str, str]
    skipped: dict[str, str]


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument("folder", metavar="FOLDER", help="folder of images, searched recursively")
    command.add_argument(
        "--models",
        metavar="NAMES",
        default="default",
        help="comma-separated model names or weights files; name=a+b+c joins fixed-rate models "
        "to one curve (default: the zoo's default model)",
    )
    arguments.add_efforts(command)
    arguments.add_tune(command, "--effort")
    arguments.add_peers(command)
    command.add_argument("--out", metavar="DIR", required=True, help="output folder")
    command.add_argument(
        "--points",
        metavar="N",
        type=arguments.argument(arguments.points),
        default=8,
        help="points per curve of codecs and variable-rate models (default: %(default)s)",
    )
    arguments.add_background(command)
    arguments.add_limits(command)
    command.add_argument("--quiet", action="store_true", help="print errors only")


def run(options: argparse.Namespace) -> int:
    """Measures what is not in the journal yet, then writes all outputs. Returns the exit code."""
    search_options.check_tune(options, max(options.effort))
    models = _parse_models(options.models)
    metrics = metric_names(options.metrics)
    if not models and options.codecs is not None and not peer_names(options.codecs):
        raise UsageError("--models and --codecs name no codec.")
    out = pathlib.Path(options.out)
    reporter = Reporter("evaluate", options.quiet)
    sources = _sources(options, out, reporter)
    _check_folder(out)
    silence_tensorflow()
    selection = Selection(reporter)
    selection.add_peers(options.codecs, options.avif_speed)
    if not models and not selection.peers:
        raise CommandError("none of the codecs is installed.")
    selection.add_metrics(metrics, options)
    make_folder(out)
    try:
        journal = evaluation.Journal(out / JOURNAL, selection.metrics)
    except OSError as error:
        raise CommandError(f"cannot write {out / JOURNAL}: {one_line(error)}") from error
    with journal:
        contenders = [c for model in models for c in _load(model, options)]
        contenders += [evaluation.peer_contender(peer, options.points) for peer in selection.peers]
        run = evaluation.Evaluation(sources, contenders, journal)
        with reporter.progress(run.steps, "evaluating") as steps:
            for name, failure in run.run(steps):
                if options.traceback:
                    raise failure
                reporter.error(f"{name}: {one_line(failure).rstrip('.')}. It is skipped.")
    if not run.rows:
        raise CommandError("no image could be evaluated.")
    left_out = {name: one_line(error) for name, error in run.left_out.items()}
    results = _Results(run.rows, contenders, left_out, selection.skipped)
    _write(out, results, options, reporter)
    if run.reused:
        reporter.line(f"{run.reused} of {len(run.steps)} measurements read from {out / JOURNAL}.")
    reporter.line(f"{out}: {', '.join(sorted(p.name for p in out.iterdir()))}")
    return FAILED if reporter.failures else 0


def _parse_models(text: str) -> list[_Model]:
    """Parses curves: `a`, or `a+b+c` for fixed-rate models, or `name=a+b+c`."""
    taken: dict[str, tuple[str, ...]] = {peer.title: () for peer in evaluation.PEERS.values()}
    models: dict[str, tuple[str, ...]] = {}
    for spec in filter(None, (part.strip() for part in text.split(","))):
        if os.path.isfile(spec):  # Its name may contain = and +.
            stem = pathlib.Path(spec).stem
            name = spec if stem in models else stem
            parts: tuple[str, ...] = (spec,)
        elif (address := spec.partition("=")[2]) and remote.is_address(address):
            name, parts = spec.partition("=")[0], (address,)
        elif remote.is_address(spec):
            name, parts = pathlib.PurePosixPath(spec.partition("#")[0]).stem, (spec,)
        else:
            name, equals, joined = spec.rpartition("=")
            parts = tuple(dict.fromkeys(_model_name(part) for part in joined.split("+")))
            name = name if equals else "+".join(parts)
        if not name or {**taken, **models}.get(name, parts) != parts:
            raise UsageError(f"{spec!r}: each curve needs a unique name.")
        models[name] = parts
    return [_Model(name, parts) for name, parts in models.items()]


def _model_name(text: str) -> str:
    """Returns the name of an existing model. The default is replaced by its name, for plots."""
    check_model(text)
    own = [entry.name for entry in tfc_models.entries() if entry.default]
    return own[0] if text == DEFAULT and own else text


def _load(model: _Model, options: argparse.Namespace) -> list[evaluation.Contender]:
    """Returns one curve per effort."""
    codecs = {part: load_model(part) for part in model.parts}
    curves = []
    for effort in options.effort:
        search = search_options.compress_arguments(effort, options.tune)
        name = ", ".join(filter(None, (model.name, evaluation.options_text(search))))
        curves.append(evaluation.model_contender(name, codecs, options.points, **search))
    return curves


def _sources(
    options: argparse.Namespace, out: pathlib.Path, reporter: Reporter
) -> list[evaluation.Source]:
    """Returns the images of the folder, without plots that an evaluation has written."""
    if os.path.realpath(options.folder) == os.path.realpath(out):
        raise UsageError("--out must not be the folder of images: plots would be evaluated too.")
    inputs = find_inputs([options.folder], images.has_image_suffix, "images")
    inside = os.path.join(os.path.realpath(out), "")
    inputs = [file for file in inputs if not os.path.realpath(file.path or "").startswith(inside)]
    if not inputs:
        raise CommandError(f"{options.folder}: there are no images in this folder.")
    if len(inputs) == 1 and inputs[0].error:
        raise CommandError(f"{inputs[0].path}: {inputs[0].error}")
    return [
        evaluation.Source(encodable(file.relative.as_posix()), _reader(file, options))
        for file in inputs
    ]


def _reader(file: InputFile, options: argparse.Namespace) -> Any:
    def read() -> np.ndarray:
        if file.error or file.path is None:
            raise CommandError(file.error or "not a file")
        limits = options.max_pixels, options.max_side
        return images.read(file.path, options.background, *limits).coded

    return read


def _check_folder(out: pathlib.Path) -> None:
    """Refuses to overwrite files that no evaluation has written."""
    if (out / JOURNAL).exists():
        return
    for name in (*TABLES, *_plot_names()):
        if (out / name).exists():
            raise CommandError(
                f"{out / name} exists, but the folder has no {JOURNAL} of an evaluation: "
                "give another folder with --out."
            )


def _write(
    out: pathlib.Path, results: _Results, options: argparse.Namespace, reporter: Reporter
) -> None:
    rows, contenders, left_out, skipped = results
    averages = evaluation.means(rows)
    measured = evaluation.curves(averages)
    listed = list(dict.fromkeys(row.image for row in rows))
    published = evaluation.published_beside(listed)
    rates = evaluation.bd_rates(measured, published)
    beside_published = evaluation.against_published(measured, listed)
    document = evaluation.document(
        rows, averages, [*rates, *beside_published], left_out, contenders, skipped
    )
    own = encodable(pathlib.Path(os.path.abspath(options.folder)).name)
    name = "Kodak" if published else own
    about = f"{name}, mean over {len(listed)} image{'s' * (len(listed) != 1)}"
    remarks = [*evaluation.gaps(rows), *evaluation.falling_quality(measured)]
    report = evaluation.bd_markdown(
        rates,
        f"{about}.",
        beside_published,
        [*remarks, *(f"Skipped: {reason}." for reason in skipped.values())],
        contenders,
    )
    files = {
        "results.csv": evaluation.table(rows, averages, contenders).encode(),
        "results.json": (json.dumps(document, indent=1) + "\n").encode(),
        "bd_rate.md": report.encode(),
        **_plots([*published, *measured], about),
    }
    for name in (*TABLES, *_plot_names()):
        if name in files:
            write_file(out / name, files[name], force=True)
        else:
            (out / name).unlink(missing_ok=True)  # From an earlier run with other images.
    for remark in remarks:
        reporter.line(remark)
    if options.json:
        print_json(document)
    elif not options.quiet:
        _print(rates)
        _print_published(beside_published)
        print_settings(contenders)


def _plot_names() -> list[str]:
    """Returns the file names of the plots of all metrics."""
    return [f"rd_{metric.name}.{kind}" for metric in table_metrics() for kind in ("png", "svg")]


def _plots(curves: list[analysis.Curve], about: str) -> dict[str, bytes]:
    files = {}
    for metric in table_metrics():
        if any(curve.of(metric) for curve in curves if curve.kind != "published"):
            figure = analysis.rd_plot(curves, metric, about)
            for kind in ("png", "svg"):
                files[f"rd_{metric.name}.{kind}"] = analysis.save_plot(figure, kind)
    return files


def _print(rates: list[Any]) -> None:
    for title, (headings, *lines) in evaluation.bd_tables(rates).items():
        # Without the repeated word, eight anchors fit into a terminal.
        anchors = [heading.removeprefix("against ") for heading in headings[1:]]
        columns = {"": "left", **dict.fromkeys(anchors, "right")}
        name = title.partition(",")[0]
        print_table(columns, lines, title=f"BD-rate in {name}, against each codec")
    for number, note in enumerate(evaluation.bd_notes(rates), 1):
        print(f"({number}) {note}")


def _print_published(rates: list[Any]) -> None:
    for title, (headings, *lines) in evaluation.published_tables(rates).items():
        columns = {heading: "right" if i else "left" for i, heading in enumerate(headings)}
        name = title.partition(",")[0]
        print_table(columns, lines, title=f"BD-rate in {name} against published results")
