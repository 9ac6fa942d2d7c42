"""The command `tfc-models`: its options, its help, its signals and its exit codes.

Exit codes: 0 all went well; 1 something could not be done (the rest was); 2 the command
makes no sense, nothing was done; 130 Ctrl-C; 143 terminated.
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
from tfc_models.cli import searching, signals
from tfc_models.cli.commands import (
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
    "metrics": metrics,
    "judge": judge,
    "recover": recover,
    "train": train,
    "serve": serve,
    "bulk": bulk,
}
OVERVIEW = """\
usage: tfc-models COMMAND [options] [files]

Learned image compression: pictures to small .tfcm files, and back.

commands:
  compress     pictures to .tfcm files
  decompress   .tfcm files to pictures
  info         what a .tfcm file holds
  models       the models there are
  export       a model as a TensorFlow SavedModel, for servers
  evaluate     models beside JPEG, WebP, AVIF, JPEG XL, HEIC … over a folder of pictures
  compare      one picture by all of them, at one size and at one quality
  metrics      how far pictures are from others: PSNR, SSIM, MS-SSIM, NLPD, LPIPS, PIM …
  judge        how good metrics are: monotone in corruptions, near to people
  recover      what metrics do not see: pictures found by minimizing them
  train        a codec, a realism decoder, a metric: as a named config says
  serve        a model by REST and gRPC, with a page for browsers
  bulk         compress, decompress or evaluate many files, on Apache Beam

examples:
  tfc-models compress photo.png                    writes photo.tfcm
  tfc-models decompress photo.tfcm --realism 1     sharp in place of blurred
  tfc-models compress photos/ -o small/            a whole folder

tfc-models COMMAND --help says more; tfc-models --version, which release this is.
"""


class _Parser(argparse.ArgumentParser):
    """Errors of one line, as everywhere else in this command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Overview(argparse.Action):
    """`tfc-models --help`: short; the options are in the help of each command."""

    def __call__(
        self, parser: argparse.ArgumentParser, *unused: Any, **also_unused: Any
    ) -> NoReturn:
        print(OVERVIEW, end="")
        parser.exit()


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    try:
        options = _options(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    try:
        with _process_settings(options.handles_signals), searching.named_weights(options):
            return options.run(options)
    except signals.Terminated as end:
        return end.exit_code
    except KeyboardInterrupt:
        print(f"{NAME}: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python must not try again at the end.
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
    """Sets signals, warnings and limits of Pillow for the process while a command runs."""
    # Our own limits, which --max-pixels raises, take the place of Pillow's.
    pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        handled = contextlib.nullcontext() if handles_signals else signals.handled()
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
    """Returns the options; of a command that takes other ones too, those are in `others`."""
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
    command.add_argument("--traceback", action="store_true", help="show where an error came from")
    return command
