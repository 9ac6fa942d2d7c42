"""`tfc-models recover`: what metrics do not see, in pictures found by minimizing them."""

from __future__ import annotations

import argparse
import io
import pathlib

from tfc_models.cli import arguments
from tfc_models.cli.errors import UsageError
from tfc_models.cli.loading import silence_tensorflow
from tfc_models.cli.metric_choice import METRICS, distance_names, metrics_of
from tfc_models.cli.output import Reporter, print_json, print_table
from tfc_models.cli.photos import middle, read
from tfc_models.cli.writing import png_target, write_file

DESCRIPTION = """\
Minimizes each metric from noise and from a strongly compressed JPEG, and shows in one PNG file
what came of it, and how far that is from the picture by all of them."""
SUFFIX = ".recovered.png"


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument("picture", metavar="FILE", help="the picture to recover")
    arguments.add_metrics(command)
    command.add_argument(
        "-o", "--output", metavar="PNG", help="file to write (default: RGB_IMAGE.recovered.png)"
    )
    command.add_argument(
        "--steps",
        metavar="N",
        type=arguments.argument(arguments.count),
        default=2000,
        help="of Adam (default: 2000)",
    )
    command.add_argument(
        "--side",
        metavar="PIXELS",
        type=arguments.argument(arguments.count),
        default=192,
        help="of the middle of the picture, which is what is used (default: 192)",
    )
    command.add_argument("--force", action="store_true", help="overwrite a file that exists")
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")
    arguments.add_background(command)
    arguments.add_limits(command)


def run(options: argparse.Namespace) -> int:
    """A figure, and a table of what is left of each distance."""
    source = pathlib.Path(options.picture)
    target = png_target(options, SUFFIX, "the figure")
    reporter = Reporter("recover", options.quiet)
    names = distance_names(options, reporter)
    picture = read(source, options)
    reference = middle(picture, min(options.side, *picture.shape[:2]))
    silence_tensorflow()
    known = metrics_of(names, options)
    least = {name: known[name].min_side for name in names}
    if short := [name for name in names if least[name] > min(reference.shape[:2])]:
        needed = max(least[name] for name in short)
        raise UsageError(f"{', '.join(short)} cannot see so small pictures: --side {needed}.")
    from tfc_models.perceptual import recovery

    distances = {name: known[name].distance for name in names}
    results: list[recovery.Recovered] = []
    jobs = [(start, name) for start in recovery.STARTS for name in names]
    with reporter.progress(jobs, "recovering") as progress:
        for start, name in progress:
            softened = known[name].softened
            found = recovery.recover(
                reference, distances, name, start, options.steps, softened=softened
            )
            results.append(found)
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
            ((r.start, r.metric, *(_left(*r.distances[name]) for name in names)) for r in results),
            "what is left of the start's distance",
        )
    reporter.line(f"{source} → {target}")
    return 0


def _left(first: float, last: float) -> str:
    return f"{last / first:.2%}" if first else "–"
