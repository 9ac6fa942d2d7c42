"""`tfc-models bulk`: processes many files with Apache Beam."""

from __future__ import annotations

import argparse
import dataclasses
import os
from typing import TYPE_CHECKING

from tfc_models.cli import arguments, optional_packages, search_options
from tfc_models.cli.codec_selection import candidate_settings, metric_names
from tfc_models.cli.errors import FAILED, UsageError
from tfc_models.cli.loading import silence_tensorflow
from tfc_models.cli.output import print_json
from tfc_models.decoder_choice import DECODERS
from tfc_models.limits import DEFAULT_MAX_PIXELS

if TYPE_CHECKING:
    from tfc_models.allocation import CodecSettings

DESCRIPTION = """\
Compresses, decompresses, evaluates or measures many files with Apache Beam. Unknown options are
passed to Beam: --runner and the options of that runner select Flink, Spark or Dataflow, whose
workers need this package with its extra `beam`. To resume an interrupted run, give the same command
again. DIR/results.csv lists the processed files, DIR/failed.csv the failed files with reasons.
measure makes the measurements that tfc-models allocate --measurements DIR reads."""
TAKES_OTHER_OPTIONS = True
COMMANDS = ("compress", "decompress", "evaluate", "measure")


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument("work", choices=COMMANDS, help="what to do with each file")
    command.add_argument(
        "--input", metavar="FILES", required=True, help="input folder, or pattern with * and **"
    )
    command.add_argument("--output", metavar="DIR", required=True, help="output folder")
    arguments.add_model(
        command, "model name or weights file (default: the zoo's default model)", "default"
    )
    arguments.add_quality(command)
    command.add_argument(
        "--realism",
        metavar="B",
        type=arguments.argument(arguments.fraction),
        help="for decompress: 0 (lowest distortion) to 1 (most realistic)",
    )
    command.add_argument(
        "--decoder",
        choices=DECODERS,
        default="full",
        help="for decompress: full, the decoder of the model, or fast (default: full)",
    )
    arguments.add_effort(command)
    arguments.add_tune(command, "--effort")
    arguments.add_tunable_weights(command)
    arguments.add_candidates(command, "for measure: ")
    command.add_argument(
        "--metrics",
        metavar="NAMES",
        default="",
        help="for measure: comma-separated metrics in addition to MSE and PSNR, with default "
        "weights",
    )
    arguments.add_background(command)
    command.add_argument(
        "--max-pixels",
        metavar="N",
        type=arguments.argument(arguments.count),
        default=DEFAULT_MAX_PIXELS,
        help=f"reject larger images (default: {DEFAULT_MAX_PIXELS:,})",
    )


def _codecs(options: argparse.Namespace) -> CodecSettings:
    settings = candidate_settings(options)
    # The effort of the other commands is not one of codecs.
    return settings if options.work == "measure" else dataclasses.replace(settings, effort=0)


def run(options: argparse.Namespace) -> int:
    """Runs the pipeline. Returns the exit code."""
    search_options.check_tune(options, options.effort)
    search_options.check_weights_are_used(options)
    silence_tensorflow()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with optional_packages.required("beam"):
        from tfc_models.serving import bulk, bulk_work

    settings = bulk.Settings(
        options.work,
        options.input,
        options.output,
        model=options.model,
        quality=options.quality,
        realism=options.realism,
        decoder=options.decoder,
        effort=options.effort,
        tune=options.tune,
        background=options.background,
        max_pixels=options.max_pixels,
        codecs=_codecs(options),
        metrics=tuple(metric_names(options.metrics)),
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
