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
from tfc_models import pictures
from tfc_models.cli import (
    arguments,
    coding,
    comparing,
    describing,
    evaluating,
    exporting,
    judging,
    measuring,
    searching,
    signals,
)
from tfc_models.cli.errors import FAILED, INTERRUPTED, USAGE, CommandError, one_line

NAME = "tfc-models"
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

examples:
  tfc-models compress photo.png                    writes photo.tfcm
  tfc-models decompress photo.tfcm -o copy.jpg     the format is the name's
  tfc-models decompress photo.tfcm --realism 1     sharp in place of blurred
  tfc-models compress photos/ -o small/            a whole folder
  cat photo.png | tfc-models compress - > photo.tfcm
  tfc-models info photo.tfcm

tfc-models COMMAND --help says more; tfc-models --version, which release this is.
"""
COMPRESS = """\
Compresses pictures: PNG, JPEG, WebP, TIFF, AVIF and others that Pillow reads. They become
sRGB with 8 bits a sample: the EXIF orientation is applied, ICC profiles are converted, of
animations and of several pages the first picture is taken. Outputs lie beside the inputs
unless -o says otherwise. With --effort, files become smaller at the same quality, and
compressing takes longer: decoding does not."""
DECOMPRESS = """\
Decompresses pictures. The format is that of the output's name: .png, .webp, .tiff and .bmp
without loss, .jpg and .avif at quality 95. The model is the one that made the file. With
--realism, what a file does not hold is invented as it may have been, in place of blur."""
INFO = "Shows what files say about themselves. Needs no model."
MODELS = "Lists the models that -m takes."
EXPORT = """\
Writes a model as a SavedModel with the signatures compress, decompress, compress_tensor and
decompress_tensor; of a model of many rates, with compress_at_quality too, and compress at the
quality that -q says; of one with a realism decoder, with decompress_at_realism. With
--max-effort, also with compress_at_effort."""

EVALUATE = """\
Measures codecs over a folder of pictures, from real files, headers included: bits per pixel,
PSNR, MS-SSIM, further metrics and seconds, by picture and on average. Writes tables (CSV, JSON),
plots (PNG, SVG), BD-rates by every metric and the settings of all codecs to a folder. A run that
was ended goes on when the command is given again. Codecs and metrics that are not installed are
named, with the command that installs them, and skipped."""
COMPARE = """\
Compresses one picture with a model, then with the standard codecs to the same size, and writes
all results side by side, with an enlarged detail, into one PNG file. Prints the quality at the
size of the model's file, the size at its quality, and the settings of all codecs."""

METRICS = """\
Measures how far B is from A: two pictures of one size, or two folders whose pictures have the
same names, whatever their suffixes. MSE, NLPD, LPIPS, PIM, PIM-bands and the semantic metric are
0 at equality, SSIM and MS-SSIM 1. A dash stands where a picture is too small for a metric; means
are of the others."""

JUDGE = """\
Tries metrics on photos: do they cost more the stronger a corruption is (15 of them, in the style
of ImageNet-C), does a shift by a pixel cost less than a blur of equal MSE, and do they rank a bank
of distorted pairs as LPIPS does? With --bapps: how often do they agree with people?"""

RECOVER = """\
Minimizes each metric from noise and from a strongly compressed JPEG, and shows in one PNG file
what came of it, and how far that is from the picture by all of them."""


class _Parser(argparse.ArgumentParser):
    """Errors of one line, as everywhere else in this command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Overview(argparse.Action):
    """`tfc-models --help`: short; the options are in the help of each command."""

    def __call__(self, parser: Any, *unused: Any, **also_unused: Any) -> NoReturn:
        print(OVERVIEW, end="")
        parser.exit()


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    try:
        options = _parser().parse_args(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    try:
        with _process_settings(), searching.named_weights(options):
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
        where = f"{error.filename}: " if getattr(error, "filename", None) else ""
        print(f"{NAME} {options.command}: {where}{one_line(error)}", file=sys.stderr)
        if isinstance(error, OSError):
            _discard_stdout()
        return error.exit_code if isinstance(error, CommandError) else FAILED


@contextlib.contextmanager
def _process_settings() -> Iterator[None]:
    """What concerns the whole process, and so is a command's business, not the library's."""
    # Our own limits, which --max-pixels raises, take the place of Pillow's.
    pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with signals.handled(), warnings.catch_warnings():
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


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=NAME, add_help=False, usage=f"{NAME} COMMAND [options] [files]")
    parser.add_argument("-h", "--help", nargs=0, action=_Overview)
    parser.add_argument("--version", action="version", version=f"{NAME} {tfc_models.__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )

    command = _command(commands, "compress", COMPRESS, coding.compress)
    arguments.add_inputs(command, "pictures, folders of pictures, or - for standard input")
    arguments.add_output(command)
    arguments.add_model(
        command, "model of the zoo (default: its default one), or a weights file", "default"
    )
    arguments.add_rate(command)
    arguments.add_effort(command)
    arguments.add_tune(command, "--effort")
    arguments.add_tunable_weights(command)
    arguments.add_background(command)
    arguments.add_limits(command)

    command = _command(commands, "decompress", DECOMPRESS, coding.decompress)
    arguments.add_inputs(command, ".tfcm files, folders of them, or - for standard input")
    arguments.add_output(command)
    command.add_argument(
        "--format",
        metavar="FORMAT",
        help=f"of outputs that -o does not name: {', '.join(s[1:] for s in pictures.WRITERS)} "
        "(default: png)",
    )
    arguments.add_model(command, "use this model, for files whose weights are not in the zoo", None)
    command.add_argument(
        "--realism",
        metavar="B",
        type=arguments.argument(arguments.fraction),
        default=0.0,
        help="0, as near to the original as it gets, to 1, as real as it looks; the file is the "
        "same (default: 0)",
    )
    arguments.add_realism_weights(command)
    arguments.add_limits(command)

    command = _command(commands, "info", INFO, describing.info)
    arguments.add_inputs(command, ".tfcm files, folders of them, or - for standard input")

    _command(commands, "models", MODELS, describing.models)

    command = _command(commands, "export", EXPORT, exporting.export)
    command.add_argument("folder", metavar="DIR", help="the folder to write")
    arguments.add_model(
        command, "model of the zoo (default: its default one), or a weights file", "default"
    )
    command.add_argument(
        "--bfloat16",
        choices=("off", "on", "auto"),
        default="off",
        help="convolve in bfloat16: off runs everywhere, auto is for machines like this one "
        "(default: off)",
    )
    arguments.add_quality(command)
    command.add_argument(
        "--max-effort",
        metavar="N",
        type=arguments.argument(arguments.effort),
        default=0,
        help="largest effort that the signature compress_at_effort takes, 1 to 9; 0: no such "
        "signature (default: 0)",
    )
    arguments.add_tune(command, "--max-effort")
    arguments.add_tunable_weights(command)
    arguments.add_realism_weights(command)
    arguments.add_limits(command)
    command.add_argument("--force", action="store_true", help="replace a SavedModel that exists")
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")

    command = _command(commands, "evaluate", EVALUATE, evaluating.evaluate)
    command.add_argument("folder", metavar="FOLDER", help="pictures, also in folders below it")
    command.add_argument(
        "--models",
        metavar="NAMES",
        default="default",
        help="models of the zoo or weights files, with commas; models of one rate that make "
        "one curve: name=a+b+c (default: the zoo's default)",
    )
    arguments.add_efforts(command)
    arguments.add_tune(command, "--effort")
    arguments.add_peers(command)
    command.add_argument("--out", metavar="DIR", required=True, help="folder to write to")
    command.add_argument(
        "--points",
        metavar="N",
        type=arguments.argument(arguments.points),
        default=8,
        help="settings of each codec, and of models of many rates (default: %(default)s)",
    )
    arguments.add_background(command)
    arguments.add_limits(command)
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")

    command = _command(commands, "compare", COMPARE, comparing.compare)
    command.add_argument("picture", metavar="PICTURE", help="picture file")
    command.add_argument(
        "-o", "--output", metavar="PNG", help="file to write (default: PICTURE.compare.png)"
    )
    command.add_argument("--force", action="store_true", help="overwrite a file that exists")
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")
    arguments.add_model(
        command, "model of the zoo (default: its default one), or a weights file", "default"
    )
    arguments.add_quality(command)
    arguments.add_effort(command)
    arguments.add_tune(command, "--effort")
    arguments.add_peers(command)
    command.add_argument(
        "--equal",
        metavar="METRIC",
        default="psnr",
        help="metric of the table of sizes at equal quality (default: %(default)s)",
    )
    arguments.add_background(command)
    arguments.add_limits(command)

    command = _command(commands, "metrics", METRICS, measuring.measure)
    command.add_argument("first", metavar="A", help="picture, or folder of pictures")
    command.add_argument("second", metavar="B", help="the other ones")
    arguments.add_metrics(command)
    command.add_argument(
        "--sets",
        action="store_true",
        help="also the Fréchet and the kernel distance between both sides' patches of "
        f"{measuring.PATCH}×{measuring.PATCH} pixels, of PIM-bands' features",
    )
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")
    arguments.add_background(command)
    arguments.add_limits(command)

    command = _command(commands, "judge", JUDGE, judging.judge)
    command.add_argument("pictures", metavar="FOLDER", help="of photos (or one) to try metrics on")
    arguments.add_metrics(command, *judging.UNTRAINED)
    command.add_argument(
        "--pairs",
        metavar="N",
        type=arguments.argument(arguments.count),
        default=1000,
        help="in the bank (default: 1000)",
    )
    command.add_argument(
        "--side",
        metavar="PIXELS",
        type=arguments.argument(arguments.count),
        default=224,
        help="of the middle of each photo, which is what is used (default: 224)",
    )
    command.add_argument(
        "--blur",
        metavar="X",
        type=arguments.argument(arguments.not_negative),
        help="scale of PIM-bands' band-difference term; 0 disables it (default: from its weights)",
    )
    command.add_argument(
        "--seed",
        metavar="N",
        type=arguments.argument(arguments.seed),
        default=0,
        help=f"of the weights of {' and '.join(judging.UNTRAINED)} (default: 0)",
    )
    command.add_argument("--bapps", metavar="FOLDER", help="score on BAPPS, too, which is there")
    command.add_argument(
        "--bapps-side",
        metavar="PIXELS",
        type=arguments.argument(arguments.count),
        default=64,
        help="to which its patches are scaled (default: 64, as its authors do; NLPD needs 65, "
        "MS-SSIM 176)",
    )
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")
    arguments.add_background(command)
    arguments.add_limits(command)

    command = _command(commands, "recover", RECOVER, judging.recover)
    command.add_argument("picture", metavar="FILE", help="the picture to recover")
    arguments.add_metrics(command)
    command.add_argument(
        "-o", "--output", metavar="PNG", help="file to write (default: PICTURE.recovered.png)"
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
