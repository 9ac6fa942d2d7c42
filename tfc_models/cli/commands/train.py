"""`tfc-models train`: trains a model, a realism decoder, a metric or a code."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

from tfc_models.cli import arguments, extras, logs
from tfc_models.cli.errors import CommandError, UsageError, one_line
from tfc_models.cli.loading import silence_tensorflow
from tfc_models.cli.output import print_json
from tfc_models.training import configs

DESCRIPTION = """\
Trains as a config says: a codec (mbt2018_mean, gained_checkerboard …), HiFiC, a realism decoder,
PIM or PIM-bands, or a code for a small source (banana …). A run that was ended goes on when the
command is given again: the work folder holds checkpoints, weights.npz, logs for TensorBoard and
validation.csv. SIGTERM and Ctrl-C end it after the current step, and save."""
HANDLES_SIGNALS = True  # Saving takes longer than other commands need to end.
STRATEGIES = ("none", "mirrored", "multiworker")


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument(
        "--config",
        metavar="NAME",
        required=True,
        help=f"file that sets CONFIG, or one of {', '.join(configs.names())}",
    )
    command.add_argument("--workdir", metavar="DIR", required=True, help="folder of the run")
    command.add_argument(
        "--data",
        metavar="DATA",
        help="pictures: a folder, a glob, or tfds:NAME[:SPLIT]; for PIM pairs of frames: a "
        "pairs.csv, a folder of frames, or video:GLOB; for codes of small sources nothing",
    )
    command.add_argument(
        "--validation", metavar="DATA", help="folder of other pictures, or pairs of other scenes"
    )
    command.add_argument(
        "--steps",
        metavar="N",
        type=arguments.argument(arguments.count),
        help="budget in steps, in place of the config's",
    )
    command.add_argument(
        "--minutes",
        metavar="X",
        type=arguments.argument(arguments.positive),
        help="budget in minutes, in place of the config's",
    )
    command.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="setting of the config; arguments.KEY=VALUE is one of the model; may be repeated",
    )
    command.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="none",
        help="several devices, or workers (TF_CONFIG), for runs on pictures (default: none)",
    )
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")


def run(options: argparse.Namespace) -> int:
    """Trains; returns the exit code."""
    try:
        configs.find(options.config)  # Before TensorFlow is loaded.
    except ValueError as error:
        raise UsageError(one_line(error)) from error
    silence_tensorflow()
    with logs.shown(options.quiet), extras.needed("train"):
        return _train(options)


def _train(options: argparse.Namespace) -> int:
    from tfc_models.training import config as settings
    from tfc_models.training import kinds
    from tfc_models.training.stopping import Stopped

    workdir = pathlib.Path(options.workdir)
    data = options.data, options.validation, options.strategy
    try:
        changes = settings.budget(options.steps, options.minutes)
        config: Any = settings.read(options.config, [*options.set, *changes], settings.RunConfig)
        kinds.check(config, *data)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error).splitlines()[0]) from error
    try:
        kinds.train(config, workdir, *data)
    except Stopped as end:
        failure = CommandError(str(end))
        failure.exit_code = end.exit_code
        raise failure from end
    except TypeError as error:  # An argument that the model does not have.
        raise CommandError(str(error).splitlines()[0]) from error
    if options.json:
        print_json({"workdir": str(workdir), "weights": str(workdir / "weights.npz")})
    return 0
