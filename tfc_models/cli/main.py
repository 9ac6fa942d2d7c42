"""Command `tfc-models`: options, help, signals and exit codes.

Exit codes: 0 success; 1 a file failed (the others were processed); 2 invalid arguments, nothing
was done; 130 Ctrl-C; 143 SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from PIL import Image

import tfc_models
from tfc_models.cli import search_options, signals
from tfc_models.cli.commands import (
    allocate,
    bulk,
    compare,
    compress,
    decompress,
    evaluate,
    export,
    info,
    judge,
    metrics,
    models,
    recover,
    serve,
    train,
    weights,
)
from tfc_models.cli.errors import FAILED, INTERRUPTED, USAGE, CommandError, one_line

NAME = "tfc-models"
COMMANDS: dict[str, Any] = {
    "compress": compress,
    "decompress": decompress,
    "info": info,
    "models": models,
    "export": export,
    "evaluate": evaluate,
    "compare": compare,
    "allocate": allocate,
    "metrics": metrics,
    "judge": judge,
    "recover": recover,
    "train": train,
    "serve": serve,
    "bulk": bulk,
    "weights": weights,
}
OVERVIEW = """\
usage: tfc-models COMMAND [options] [files]

Learned image compression: compresses images to .tfcm files and decompresses them.

commands:
  compress     compress images to .tfcm files
  decompress   decompress .tfcm files to images
  info         show the headers of .tfcm files
  models       list the available models
  export       export a model as a TensorFlow SavedModel for serving
  evaluate     compare models with JPEG, WebP, AVIF, JPEG XL, HEIC … on a folder of images
  compare      compare codecs on one image, at equal size and at equal quality
  allocate     compress images to a total size, each at its best quality
  metrics      measure image quality: PSNR, SSIM, MS-SSIM, NLPD, LPIPS, PIM …
  judge        evaluate metrics: monotonicity under corruptions, agreement with people
  recover      recover an image by minimizing each metric
  train        train a codec, a decoder or a metric from a named config
  serve        serve a model over REST and gRPC, with a web page
  bulk         compress, decompress or evaluate many files with Apache Beam
  weights      compress the weights of Keras models

examples:
  tfc-models compress photo.png                    writes photo.tfcm
  tfc-models decompress photo.tfcm --realism 1     synthesizes sharp detail
Run tfc-models COMMAND --help for the options of a command, tfc-models --version for the release.
"""


class _Parser(argparse.ArgumentParser):
    """Parser that reports errors in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Overview(argparse.Action):
    """Prints the overview for `tfc-models --help`. Each command's help lists its options."""

    def __call__(
        self, parser: argparse.ArgumentParser, *unused: Any, **also_unused: Any
    ) -> NoReturn:
        print(OVERVIEW, end="")
        parser.exit()


def main(words: Sequence[str] | None = None) -> int:
    """Runs a command. Returns its exit code."""
    try:
        options = _options(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    try:
        with (
            _process_settings(options.handles_signals),
            search_options.weights_environment(options),
        ):
            return options.run(options)
    except signals.Terminated as end:
        return end.exit_code
    except KeyboardInterrupt:
        print(f"{NAME}: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe. Python must not flush standard output again at exit.
        _discard_stdout()
        return FAILED
    except Exception as error:
        if options.traceback:
            raise
        filename = getattr(error, "filename", None)
        where = f"{filename}: " if filename else ""
        print(f"{NAME} {options.command}: {where}{one_line(error)}", file=sys.stderr)
        if isinstance(error, OSError):
            _discard_stdout()
        return error.exit_code if isinstance(error, CommandError) else FAILED


@contextlib.contextmanager
def _process_settings(handles_signals: bool) -> Iterator[None]:
    """Sets signal handlers, warning filters and Pillow's limits while a command runs."""
    # The limits of --max-pixels and --max-side replace Pillow's.
    pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        handled = contextlib.nullcontext() if handles_signals else signals.raise_on_signals()
        with handled, warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = pillow_limit


def _discard_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    """Parses the arguments. `others` holds the unknown options of commands that accept some."""
    parser = _parser()
    options, others = parser.parse_known_args(words)
    options.others = others
    if options.others and not options.takes_other_options:
        parser.error(f"unrecognized arguments: {' '.join(options.others)}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=NAME, add_help=False, usage=f"{NAME} COMMAND [options] [files]")
    parser.add_argument("-h", "--help", nargs=0, action=_Overview)
    parser.add_argument("--version", action="version", version=f"{NAME} {tfc_models.__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )

    for name, module in COMMANDS.items():
        command = _command(commands, name, module.DESCRIPTION, module.run)
        command.set_defaults(
            handles_signals=getattr(module, "HANDLES_SIGNALS", False),
            takes_other_options=getattr(module, "TAKES_OTHER_OPTIONS", False),
        )
        module.add_options(command)
    return parser


def _command(
    commands: Any, name: str, description: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        prog=f"{NAME} {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    command.add_argument("--json", action="store_true", help="print results as JSON")
    command.add_argument("--traceback", action="store_true", help="print the traceback of an error")
    return command
