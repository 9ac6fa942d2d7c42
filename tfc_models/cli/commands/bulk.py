"""`tfc-models bulk`: many files, on Apache Beam."""

from __future__ import annotations

import argparse
import os

from tfc_models.cli import arguments, extras, searching
from tfc_models.cli.errors import FAILED, UsageError
from tfc_models.cli.loading import silence_tensorflow
from tfc_models.cli.output import print_json
from tfc_models.limits import DEFAULT_MAX_PIXELS

DESCRIPTION = """\
Compresses, decompresses or evaluates many files, on Apache Beam. Other options are Beam's: with
--runner and the options of that runner the work goes to Flink, Spark or Dataflow, whose workers
need this package with its extra `beam`. The same command does what is left of a run that was
ended. DIR/results.csv has a line for each file that is done, DIR/failed.csv one for each that
could not be, and why."""
TAKES_OTHER_OPTIONS = True
COMMANDS = ("compress", "decompress", "evaluate")


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument("work", choices=COMMANDS, help="what to do with each file")
    command.add_argument(
        "--input", metavar="FILES", required=True, help="folder, or pattern with * and **"
    )
    command.add_argument("--output", metavar="DIR", required=True, help="folder for the results")
    arguments.add_model(
        command, "model of the zoo (default: its default one), or a weights file", "default"
    )
    arguments.add_quality(command)
    command.add_argument(
        "--realism",
        metavar="B",
        type=arguments.argument(arguments.fraction),
        help="of decompress and evaluate: 0, as near to the original as it gets, to 1, as real as "
        "it looks",
    )
    arguments.add_effort(command)
    arguments.add_tune(command, "--effort")
    arguments.add_tunable_weights(command)
    arguments.add_background(command)
    command.add_argument(
        "--max-pixels",
        metavar="N",
        type=arguments.argument(arguments.count),
        default=DEFAULT_MAX_PIXELS,
        help=f"refuse larger pictures (default: {DEFAULT_MAX_PIXELS:,})",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the pipeline; returns the exit code."""
    searching.check(options, options.effort)
    searching.check_weights_are_used(options)
    silence_tensorflow()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with extras.needed("beam"):
        from tfc_models.serving import bulk, bulk_work

    settings = bulk.Settings(
        options.work,
        options.input,
        options.output,
        model=options.model,
        quality=options.quality,
        realism=options.realism,
        effort=options.effort,
        tune=options.tune,
        background=options.background,
        max_pixels=options.max_pixels,
    )
    try:
        outcome = bulk.run(settings, options.others)
    except (ValueError, OSError) as error:
        raise UsageError(bulk_work.one_line(error)) from error
    if options.json:
        print_json(outcome._asdict())
    else:
        print(outcome)
    return FAILED if outcome.failed else 0
