"""`tfc-models recover`: recovers an image by minimizing each metric."""

from __future__ import annotations

import argparse
import io
import pathlib

from tfc_models.cli import arguments
from tfc_models.cli.errors import UsageError
from tfc_models.cli.input_images import center_crop, read_pixels
from tfc_models.cli.loading import silence_tensorflow
from tfc_models.cli.metric_choice import METRICS, distance_names, load_metrics
from tfc_models.cli.output import Reporter, print_json, print_table
from tfc_models.cli.output_files import png_target, write_file

DESCRIPTION = """\
Recovers an image by minimizing each metric, starting from noise and from a strongly compressed
JPEG. Writes the results and their distances by all metrics to one PNG file. Details that a metric
does not recover are details that it does not measure."""
SUFFIX = ".recovered.png"


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument("picture", metavar="FILE", help="image to recover")
    arguments.add_metrics(command)
    command.add_argument(
        "-o", "--output", metavar="PNG", help="file to write (default: RGB_IMAGE.recovered.png)"
    )
    command.add_argument(
        "--steps",
        metavar="N",
        type=arguments.argument(arguments.count),
        default=2000,
        help="optimization steps of Adam (default: 2000)",
    )
    command.add_argument(
        "--side",
        metavar="PIXELS",
        type=arguments.argument(arguments.count),
        default=192,
        help="side of the central crop that is used (default: 192)",
    )
    command.add_argument("--force", action="store_true", help="overwrite an existing file")
    command.add_argument("--quiet", action="store_true", help="print errors only")
    arguments.add_background(command)
    arguments.add_limits(command)


def run(options: argparse.Namespace) -> int:
    """Writes the figure and prints the remaining distances. Returns the exit code."""
    source = pathlib.Path(options.picture)
    target = png_target(options, SUFFIX, "the figure")
    reporter = Reporter("recover", options.quiet)
    names = distance_names(options, reporter)
    pixels = read_pixels(source, options)
    reference = center_crop(pixels, min(options.side, *pixels.shape[:2]))
    silence_tensorflow()
    known = load_metrics(names, options)
    least = {name: known[name].min_side for name in names}
    if short := [name for name in names if least[name] > min(reference.shape[:2])]:
        needed = max(least[name] for name in short)
        raise UsageError(f"the images are too small for {', '.join(short)}: give --side {needed}.")
    from tfc_models.perceptual import recovery

    distances = {name: known[name].distance for name in names}
    results: list[recovery.Recovered] = []
    jobs = [(start, name) for start in recovery.STARTS for name in names]
    with reporter.progress(jobs, "recovering") as progress:
        for start, name in progress:
            softened = known[name].softened
            result = recovery.recover(
                reference, distances, name, start, options.steps, softened=softened
            )
            results.append(result)
    buffer = io.BytesIO()
    recovery.recovery_figure(reference, results).savefig(buffer, format="png", dpi=150)
    write_file(target, buffer.getvalue(), options.force)
    if options.json:
        print_json(
            [{"metric": r.metric, "start": r.start, "distances": r.distances} for r in results]
        )
    elif not options.quiet:
        print_table(
            {"start": "left", "minimized": "left", **{METRICS[n].heading: "right" for n in names}},
            (
                (r.start, r.metric, *(_remaining(*r.distances[name]) for name in names))
                for r in results
            ),
            "remaining distance, relative to the start",
        )
    reporter.line(f"{source} → {target}")
    return 0


def _remaining(first: float, last: float) -> str:
    return f"{last / first:.2%}" if first else "–"
