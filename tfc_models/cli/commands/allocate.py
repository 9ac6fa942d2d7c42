"""`tfc-models allocate`: compresses images to a total size, each at the quality that is best."""

from __future__ import annotations

import argparse
import math
import os
import pathlib
from typing import TYPE_CHECKING

from tfc_models import images
from tfc_models.cli import arguments
from tfc_models.cli.allocation_result import Result, document, print_result
from tfc_models.cli.codec_selection import candidate_settings
from tfc_models.cli.errors import FAILED, CommandError, UsageError, one_line, printable
from tfc_models.cli.loading import load_model, silence_tensorflow
from tfc_models.cli.output import Reporter, print_json
from tfc_models.cli.output_files import make_folder, write_file
from tfc_models.cli.plan import find_inputs, plan

if TYPE_CHECKING:
    from tfc_models import allocation

DESCRIPTION = """\
Compresses images, each at its own quality, so that the mean distortion of all images is smallest
within a total size. Every image is measured at several qualities of one or more codecs. Then the
program chooses one of them for each image and writes the files. --optimize and --mean select other
objectives and limits: for example the smallest total for a mean LPIPS. To resume an interrupted
run, give the same command again."""
KIND = "images"

Targets = dict[pathlib.Path, dict[str, pathlib.Path]]
"""Outputs of every image by suffix."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    arguments.add_inputs(command, "images, or folders of images, searched recursively")
    command.add_argument("-o", "--output", metavar="DIR", required=True, help="output folder")
    command.add_argument(
        "--total",
        metavar="SIZE",
        type=arguments.argument(arguments.size),
        help="largest total of bytes: 100MB, 500k",
    )
    command.add_argument(
        "--optimize",
        metavar="NAME",
        default="mse",
        help="quantity to optimize: mse, psnr, bytes or another metric (default: mse)",
    )
    for option, text in (
        ("mean", "limit of the mean over all images"),
        ("each", "limit of every single image"),
    ):
        command.add_argument(
            f"--{option}",
            metavar="NAME=X",
            action="append",
            type=arguments.argument(_named_number),
            default=[],
            help=f"{text}: at most X, or at least X for metrics of which higher values are "
            "better; may be repeated",
        )
    arguments.add_candidates(command)
    arguments.add_effort(command)
    arguments.add_weights(command)
    command.add_argument(
        "--measurements",
        metavar="PATH",
        action="append",
        type=pathlib.Path,
        default=[],
        help="further measurements to reuse: the file of another run, or the output folder of "
        "tfc-models bulk measure; may be repeated",
    )
    command.add_argument(
        "--processes",
        metavar="N",
        type=arguments.argument(arguments.processes),
        default=1,
        help="processes that measure and compress (default: 1)",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="measure and print the result; write no images"
    )
    command.add_argument("--force", action="store_true", help="overwrite existing files")
    arguments.add_background(command)
    arguments.add_limits(command)
    command.add_argument("--quiet", action="store_true", help="print errors only")


def run(options: argparse.Namespace) -> int:
    """Measures, allocates and writes. Returns the exit code."""
    from tfc_models import allocation

    goal = _goal(options)
    settings = _settings(options, goal)
    reporter = Reporter("allocate", options.quiet)
    targets = _plan(options, settings.codecs, reporter)
    silence_tensorflow()
    try:
        candidates = settings.codecs.candidates(load_model)
        make_folder(pathlib.Path(options.output))
        measurer = allocation.Measurer(settings, candidates)
    except (ValueError, OSError) as error:
        raise CommandError(one_line(error)) from error
    processes = min(options.processes, len(targets))
    with measurer, allocation.Workers(measurer, settings, processes) as workers:
        measured = _measure(workers, targets, goal, options, reporter)
        if not measured:
            raise CommandError("no image could be measured.")
        result = _solve(measured, candidates, goal)
        if not options.dry_run:
            _write(workers, targets, result, options, reporter)
    if options.json:
        print_json(document(result))
    elif not options.quiet:
        print_result(result)
    return FAILED if reporter.failures else 0


def _named_number(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value):
        raise ValueError(f"{text!r} is not NAME=X with a number X: for example lpips=0.2.")
    return name, value


def _goal(options: argparse.Namespace) -> allocation.Goal:
    from tfc_models import allocation

    try:
        return allocation.Goal(
            options.optimize,
            options.total,
            _limits("mean", options.mean),
            _limits("each", options.each),
        )
    except ValueError as error:
        raise UsageError(one_line(error)) from None


def _limits(option: str, given: list[tuple[str, float]]) -> dict[str, float]:
    limits = dict(given)
    if len(limits) < len(given):
        raise ValueError(f"--{option} names a metric twice.")
    return limits


def _settings(options: argparse.Namespace, goal: allocation.Goal) -> allocation.MeasuringSettings:
    from tfc_models import allocation
    from tfc_models.allocation.measurements import FILE_NAME

    for name in options.weights:
        if name not in goal.metrics:
            raise UsageError(f"--weights {name}=… has an effect if {name} is optimized or limited.")
    for path in options.measurements:
        if not path.exists():
            raise UsageError(f"--measurements: there is no file or folder {path}.")
    codecs = candidate_settings(options)
    return allocation.MeasuringSettings(
        codecs,
        goal.metrics,
        options.weights,
        pathlib.Path(options.output, FILE_NAME),
        tuple(options.measurements),
        options.background,
        options.max_pixels,
        options.max_side,
    )


def _plan(
    options: argparse.Namespace, codecs: allocation.CodecSettings, reporter: Reporter
) -> Targets:
    """Returns the images, and checks all outputs that they may have."""
    inside = os.path.join(os.path.realpath(options.output), "")
    inputs = [
        file
        for file in find_inputs(options.inputs, images.has_image_suffix, KIND)
        if not os.path.realpath(file.path or "").startswith(inside)
    ]
    if any(file.path is None for file in inputs):
        raise UsageError("standard input cannot be allocated: give files or folders.")
    if not inputs:
        raise CommandError("there are no images outside the output folder.")
    for file in inputs:
        if file.error:
            reporter.error(f"{file.path}: {file.error}")
    readable = [file for file in inputs if not file.error]
    suffixes = _suffixes(codecs)
    existing = "replace" if options.force or options.dry_run else "refuse"
    targets: Targets = {}
    for suffix in suffixes:
        for job in plan(readable, options.output, True, suffix, images.has_image_suffix, existing):
            if job.error:
                # The budget is for all images: none is written if one cannot be.
                raise CommandError(f"{job.source_name}: {job.error}")
            if job.source is not None and job.target is not None:
                targets.setdefault(job.source, {})[suffix] = job.target
    if not targets:
        raise CommandError("there is no image to allocate.")
    return targets


def _suffixes(codecs: allocation.CodecSettings) -> list[str]:
    from tfc_models.allocation.candidates import SUFFIXES
    from tfc_models.codec.container import SUFFIX

    return list(dict.fromkeys(SUFFIXES.get(name, SUFFIX) for name in codecs.codecs))


def _measure(
    workers: allocation.Workers,
    targets: Targets,
    goal: allocation.Goal,
    options: argparse.Namespace,
    reporter: Reporter,
) -> list[allocation.Measured]:
    """Returns the images that have an option which meets the limits of single images."""
    usable: list[allocation.Measured] = []
    reused = outdated = 0
    failures: list[str] = []
    with reporter.progress(list(targets), "measuring") as steps:
        for measured, _ in zip(workers.measure(list(targets)), steps):
            reused, outdated = reused + measured.reused, outdated + measured.outdated
            failures += (printable(f"{measured.path}: {m}") for m in measured.failures)
            if measured.error is not None:
                if options.traceback:
                    raise measured.error
                text = one_line(measured.error).rstrip(".")
                reporter.error(f"{measured.path}: {text}. It is skipped.")
            elif not goal.available([measured.measurements]).any():
                reason = _reason_without_option(goal, measured.measurements)
                reporter.error(f"{measured.path}: {reason}. It is skipped.")
            else:
                usable.append(measured)
    if failures:
        reporter.warn(
            f"{len(failures):,} qualities failed and were left out, such as {failures[0]}"
        )
    if reused:
        reporter.line(f"{reused:,} measurements reused.")
    if outdated:
        reporter.line(
            f"{outdated:,} measurements of other versions of a codec or metric were made again."
        )
    return usable


def _reason_without_option(
    goal: allocation.Goal, row: tuple[allocation.Measurement | None, ...]
) -> str:
    for name in goal.metrics:
        if all(one is None or one.value(name) is None for one in row):
            return f"it is too small for {name}"
    limits = ", ".join(f"--each {name}={limit:g}" for name, limit in goal.each.items())
    return f"no quality satisfies {limits}"


def _solve(
    measured: list[allocation.Measured],
    candidates: list[allocation.Candidate],
    goal: allocation.Goal,
) -> Result:
    from tfc_models import allocation

    program = goal.program([one.measurements for one in measured])
    try:
        found = allocation.solve(program)
    except allocation.InfeasibleError as error:
        raise CommandError(_infeasible(error, goal, len(measured))) from None
    return Result(measured, candidates, found, allocation.best_single(program), goal.metrics)


def _infeasible(error: allocation.InfeasibleError, goal: allocation.Goal, images: int) -> str:
    """Names the limit that is not met, and the nearest feasible one."""
    names = [f"--mean {name}={goal.means[name]:g}" for name in error.before]
    names += [f"--each {name}={limit:g}" for name, limit in goal.each.items()]
    verdict = "cannot be met" if error.is_proven else "was not met by any choice that was found"
    beside = f" with {' and '.join(names)}" if names else ""
    if error.limit.name == "bytes":
        return (
            f"--total {goal.total:,} bytes {verdict}{beside}: "
            f"the smallest total is {error.least:,.0f} bytes."
        )
    name, mean = error.limit.name, abs(error.least) / images
    # Rounded away from the limit, so that the printed number is feasible.
    digits = 6 - math.ceil(math.log10(mean)) if mean else 0
    round_up = error.least >= 0
    nearest = (math.ceil if round_up else math.floor)(mean * 10**digits) / 10**digits
    extreme = "lowest" if round_up else "highest"
    return (
        f"--mean {name}={goal.means[name]:g} {verdict}{beside}: the {extreme} mean is {nearest:g}."
    )


def _write(
    workers: allocation.Workers,
    targets: Targets,
    result: Result,
    options: argparse.Namespace,
    reporter: Reporter,
) -> None:
    """Compresses every image at its candidate and writes the files."""
    from tfc_models.allocation.measurements import FILE_NAME

    tasks = [(one.path, int(i)) for one, i in zip(result.measured, result.found.choice)]
    kept = pathlib.Path(options.output, FILE_NAME)
    chosen = [one.measurements[i] for one, (_, i) in zip(result.measured, tasks)]
    with reporter.progress(tasks, "compressing") as steps:
        for data, measurement, (path, index) in zip(workers.encode(tasks), chosen, steps):
            target = targets[path][result.candidates[index].suffix]
            try:
                if isinstance(data, Exception):
                    raise data
                if measurement is not None and len(data) != measurement.bytes:
                    raise CommandError(
                        f"its file has {len(data):,} bytes, but {measurement.bytes:,} were "
                        f"measured: delete {kept}, or omit --measurements, and try again."
                    )
                make_folder(target.parent)
                write_file(target, data, options.force)
            except Exception as error:
                if options.traceback:
                    raise
                reporter.error(f"{path}: {one_line(error)}")
