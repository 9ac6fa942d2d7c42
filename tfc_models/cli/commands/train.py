"""`tfc-models train`: trains a codec, a decoder, a metric or a code of a toy source."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

from tfc_models.cli import arguments, logs, optional_packages
from tfc_models.cli.errors import CommandError, UsageError, one_line
from tfc_models.cli.loading import silence_tensorflow
from tfc_models.cli.output import print_json
from tfc_models.training import configs

DESCRIPTION = """\
Trains the model of a config: an image codec (mbt2018_mean, gained_checkerboard …, hific_gan), a
realism decoder, a decoder that replaces that of a model, a perceptual metric (PIM, PIM-bands), a
code of a toy source (banana …), or small networks with compressible weights or features (lenet5,
mnist …). To resume an interrupted run, give the same command again. The work folder contains
checkpoints, weights.npz, TensorBoard logs and validation.csv, or the tables of small networks.
SIGTERM and Ctrl-C save a checkpoint after the current step and stop."""
# The command handles signals itself: a checkpoint can take longer than other commands may end in.
HANDLES_SIGNALS = True
STRATEGIES = ("none", "mirrored", "multiworker")


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument(
        "--config",
        metavar="NAME",
        required=True,
        help=f"config file, or one of {', '.join(configs.names())}",
    )
    command.add_argument("--workdir", metavar="DIR", required=True, help="work folder of the run")
    command.add_argument(
        "--data",
        metavar="DATA",
        help="training images: a folder, a glob, or tfds:NAME[:SPLIT]; for PIM, pairs of "
        "frames: a pairs.csv, a folder of frames, or video:GLOB; not used for toy sources",
    )
    command.add_argument(
        "--validation", metavar="DATA", help="folder of validation images, or pairs of frames"
    )
    command.add_argument(
        "--steps",
        metavar="N",
        type=arguments.argument(arguments.count),
        help="training steps (default: from the config)",
    )
    command.add_argument(
        "--minutes",
        metavar="X",
        type=arguments.argument(arguments.positive),
        help="maximum minutes of training (default: from the config)",
    )
    command.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override a setting of the config, or with arguments.KEY=VALUE a model argument; may "
        "be repeated",
    )
    command.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="none",
        help="mirrored: all devices of this machine; multiworker: machines of TF_CONFIG; only for "
        "training on images (default: none)",
    )
    command.add_argument("--quiet", action="store_true", help="print errors only")


def run(options: argparse.Namespace) -> int:
    """Trains a config. Returns the exit code."""
    try:
        configs.find(options.config)  # Before TensorFlow is loaded.
    except ValueError as error:
        raise UsageError(one_line(error)) from error
    silence_tensorflow()
    with logs.to_stderr(options.quiet), optional_packages.required("train"):
        return _train(options)


def _train(options: argparse.Namespace) -> int:
    from tfc_models.training import config as settings
    from tfc_models.training import dispatch
    from tfc_models.training.stopped import TrainingStopped

    workdir = pathlib.Path(options.workdir)
    data = options.data, options.validation, options.strategy
    try:
        changes = settings.budget(options.steps, options.minutes)
        config: Any = settings.read(options.config, [*options.set, *changes], settings.RunConfig)
        dispatch.check(config, *data)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error).splitlines()[0]) from error
    try:
        dispatch.train(config, workdir, *data)
    except TrainingStopped as end:
        failure = CommandError(str(end))
        failure.exit_code = end.exit_code
        raise failure from end
    except TypeError as error:  # The config has an argument that the model does not accept.
        raise CommandError(str(error).splitlines()[0]) from error
    if options.json:
        weights = workdir / "weights.npz"
        result = {"weights": str(weights)} if weights.exists() else {}
        print_json({"workdir": str(workdir), **result})
    return 0
