"""Options that several commands share, and the conversion of their values."""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from tfc_models import images
from tfc_models.cli import metric_choice
from tfc_models.cli.errors import one_line
from tfc_models.codec.container import LARGEST_QUALITY
from tfc_models.codec.tunable import tunable_names, tuned_metrics
from tfc_models.evaluation.peers import AVIF_SPEED, AVIF_SPEEDS, PEERS
from tfc_models.evaluation.quality_metrics import further_names
from tfc_models.limits import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE
from tfc_models.metrics import METRICS, metrics_with_weights, tunable_metrics


def add_metrics(command: argparse.ArgumentParser, *more: str) -> None:
    """Adds --metric and --weights. `more` lists further names that --metric accepts."""
    command.add_argument(
        "--metric",
        metavar="NAMES",
        default=metric_choice.ALL,
        help=f"comma-separated metrics, from {', '.join((*METRICS, *more))}; or all (default: all)",
    )
    add_weights(command)


def add_weights(command: argparse.ArgumentParser, names: Sequence[str] = ()) -> None:
    """Adds --weights.

    Args:
        command: parser of the command.
        names: metrics whose weights the option accepts (default: all metrics with weights).
    """
    known = list(names or metrics_with_weights())
    command.add_argument(
        "--weights",
        metavar="NAME=FILE",
        action=_AddWeights,
        type=argument(functools.partial(named_file, known)),
        default={},
        help=f"weights of a metric, one of {', '.join(known)}; may be repeated. FILE is a file, "
        "https://…#sha256=… or, for pim, a folder of released weights (default: the file in an "
        "environment variable such as TFC_MODELS_LPIPS, or the weights in the package)",
    )


def add_tunable_weights(command: argparse.ArgumentParser) -> None:
    """Adds --weights for the metrics that --tune accepts."""
    add_weights(command, [name for name in metrics_with_weights() if name in tunable_metrics()])


class _AddWeights(argparse.Action):
    """Collects NAME=FILE pairs in a dict."""

    def __call__(self, parser: Any, options: Any, pair: Any, option: Any = None) -> None:
        name, file = pair
        setattr(options, self.dest, {**getattr(options, self.dest), name: file})


def named_file(names: Sequence[str], text: str) -> tuple[str, str]:
    """Splits NAME=FILE into the metric and the file."""
    name, _, file = text.partition("=")
    if name not in names or not file:
        raise ValueError(
            f"{text!r} is not NAME=FILE with a NAME of {', '.join(names)}: "
            f"for example {names[0]}=weights.npz."
        )
    return name, file


def add_effort(command: argparse.ArgumentParser) -> None:
    """Adds --effort with one value."""
    command.add_argument(
        "-e",
        "--effort",
        metavar="N",
        type=argument(effort),
        default=0,
        help=f"{EFFORT_HELP} (default: 0)",
    )


def add_efforts(command: argparse.ArgumentParser) -> None:
    """Adds --effort with several values, one rate-distortion curve each."""
    command.add_argument(
        "-e",
        "--effort",
        metavar="N[,N…]",
        type=argument(efforts),
        default=(0,),
        help="encoder efforts of the models, 0 to 9 (see compress); each gives a curve (default: "
        "0)",
    )


def add_tune(command: argparse.ArgumentParser, option: str) -> None:
    """Adds --tune. `option` is the option that sets the effort."""
    command.add_argument(
        "--tune",
        metavar="METRIC",
        type=argument(tune),
        help=f"with {option} above 0: optimize quality by this metric, one of "
        f"{', '.join(tunable_names())}, or a sum such as 'psnr + 2*lpips', at about the same size "
        "(default: the model's training distortion)",
    )


EFFORT_HELP = (
    "encoder effort, 0 (fastest: a single pass) to 9 (smallest files): the encoder optimizes each "
    "image. On two cores a 768×512 image takes about 4 s at 1, 7 s at 3, 14 s at 6 and 30 s at "
    "9. Decoding time does not change"
)


def effort(text: str) -> int:
    """Converts an encoder effort."""
    if not text.isdecimal() or int(text) > 9:
        raise ValueError(f"{text!r} is not a whole number from 0 to 9.")
    return int(text)


def efforts(text: str) -> tuple[int, ...]:
    """Converts comma-separated efforts, without duplicates."""
    return tuple(dict.fromkeys(effort(part.strip()) for part in text.split(",")))


def tune(text: str) -> str:
    """Checks the metrics of --tune."""
    tuned_metrics(text)
    return text


def add_peers(command: argparse.ArgumentParser) -> None:
    """Adds the options of standard codecs and of further metrics."""
    command.add_argument(
        "--codecs",
        metavar="NAMES",
        help=f"comma-separated standard codecs, from {', '.join(PEERS)} (default: all that are "
        "installed)",
    )
    add_avif_speed(command)
    command.add_argument(
        "--metrics",
        metavar="NAMES",
        default="",
        help="comma-separated metrics in addition to PSNR and MS-SSIM, from "
        f"{', '.join(further_names())}",
    )
    add_weights(command)


def add_avif_speed(command: argparse.ArgumentParser) -> None:
    """Adds --avif-speed."""
    command.add_argument(
        "--avif-speed",
        metavar="N",
        type=argument(avif_speed),
        default=AVIF_SPEED,
        help="speed of the AVIF encoder, 0 (slowest, smallest files) to 10 (default: %(default)s)",
    )


def add_candidates(command: argparse.ArgumentParser, remark: str = "") -> None:
    """Adds the options of codecs and qualities among which an allocation chooses.

    Args:
        command: parser of the command.
        remark: start of the help texts.
    """
    command.add_argument(
        "--codecs",
        metavar="NAMES",
        default="default",
        help=f"{remark}comma-separated codecs, from which every image may choose: model names, "
        f"weights files, {', '.join(PEERS)} (default: the zoo's default model)",
    )
    command.add_argument(
        "--points",
        metavar="N",
        type=argument(points),
        default=11,
        help=f"{remark}qualities per codec, spread over its range (default: %(default)s)",
    )
    command.add_argument(
        "--qualities",
        metavar="LIST",
        type=argument(qualities),
        default=(),
        help=f"{remark}comma-separated qualities and ranges such as 20-60, instead of --points",
    )
    add_avif_speed(command)


def qualities(text: str) -> tuple[float, ...]:
    """Converts comma-separated qualities and ranges of whole ones, such as 5,20-60."""
    result: set[float] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low, high = float(first), float(last if dash else first)
        except ValueError:
            low, high = -1.0, -1.0
        if not 0 <= low <= high <= LARGEST_QUALITY or (
            dash and not (low.is_integer() and high.is_integer())
        ):
            raise ValueError(f"{part.strip()!r} is not a quality, 0 to 100, or a range like 20-60.")
        result.update(low + step for step in range(int(high - low) + 1))
    return tuple(sorted(result))


def avif_speed(text: str) -> int:
    """Converts a speed of the AVIF encoder."""
    if not text.isdecimal() or int(text) not in AVIF_SPEEDS:
        raise ValueError(f"{text!r} is not a whole number from 0 to {AVIF_SPEEDS[-1]}.")
    return int(text)


def add_inputs(command: argparse.ArgumentParser, text: str) -> None:
    """Adds the positional input files, with `text` as help."""
    command.add_argument("inputs", nargs="+", metavar="FILE", help=text)


def add_output(command: argparse.ArgumentParser) -> None:
    """Adds --output and the options for existing outputs."""
    command.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        help="output file, or folder for several inputs; - is standard output",
    )
    command.add_argument("--force", action="store_true", help="overwrite existing files")
    command.add_argument(
        "--skip-existing", action="store_true", help="skip inputs whose output exists"
    )
    command.add_argument("--quiet", action="store_true", help="print errors only")


def add_model(command: argparse.ArgumentParser, text: str, default: str | None) -> None:
    """Adds --model, with `text` as help."""
    command.add_argument("-m", "--model", metavar="NAME", default=default, help=text)


def add_decoder_weights(command: argparse.ArgumentParser) -> None:
    """Adds --realism-weights and --fast-weights."""
    for name, kind in (("realism", "realism decoder"), ("fast", "fast decoder")):
        command.add_argument(
            f"--{name}-weights",
            metavar="FILE",
            help=f"weights file of a {kind} for the model (default: the zoo's)",
        )


def add_rate(command: argparse.ArgumentParser) -> None:
    """Adds --quality and the mutually exclusive --target-… options."""
    group = command.add_mutually_exclusive_group()
    add_quality(group)
    for option, unit, convert in (
        ("bytes", "N", size),
        ("bpp", "X", positive),
        ("psnr", "DB", positive),
    ):
        most = "at least" if option == "psnr" else "at most"
        group.add_argument(
            f"--target-{option}",
            metavar=unit,
            type=argument(convert),
            help=f"choose the quality that gives {most} this many {_UNITS[option]}",
        )


def add_quality(command: Any) -> None:
    """Adds --quality to a parser or a group."""
    command.add_argument(
        "-q",
        "--quality",
        metavar="N",
        type=argument(quality),
        help="quality of a variable-rate model, 0 (smallest file) to 100 (best) (default: 50)",
    )


_UNITS = {"bytes": "bytes", "bpp": "bits per pixel", "psnr": "decibels"}


def quality(text: str) -> int:
    """Converts a quality."""
    if not text.isdecimal() or int(text) > LARGEST_QUALITY:
        raise ValueError(f"{text!r} is not a whole number from 0 to {LARGEST_QUALITY}.")
    return int(text)


def fraction(text: str) -> float:
    """Converts a number from 0 to 1."""
    return _number(text, lambda value: 0.0 <= value <= 1.0, "from 0 to 1")


def not_negative(text: str) -> float:
    """Converts a number that is at least 0."""
    return _number(text, lambda value: 0.0 <= value < math.inf, "of at least 0")


def positive(text: str) -> float:
    """Converts a number above 0."""
    return _number(text, lambda value: 0.0 < value < math.inf, "above 0")


def _number(text: str, fits: Callable[[float], bool], words: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan  # No range contains it.
    if not fits(value):
        raise ValueError(f"{text!r} is not a number {words}.")
    return value


def seed(text: str) -> int:
    """Converts a seed of random numbers."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise ValueError(f"{text!r} is not a whole number from 0 to 4294967295.")
    return int(text)


def add_background(command: argparse.ArgumentParser) -> None:
    """Adds --background."""
    command.add_argument(
        "--background",
        metavar="COLOR",
        type=argument(images.parse_color),
        help="background colour of transparent images: a name, or #rrggbb",
    )


def add_limits(command: argparse.ArgumentParser) -> None:
    """Adds --max-pixels and --max-side."""
    for option, default in (("pixels", DEFAULT_MAX_PIXELS), ("side", DEFAULT_MAX_SIDE)):
        command.add_argument(
            f"--max-{option}",
            metavar="N",
            type=argument(count),
            default=default,
            help=f"reject larger images (default: {default:,})",
        )


def count(text: str) -> int:
    """Converts a number of pixels or bytes: 100000000, 100M, 1e8."""
    units = {"k": 1e3, "M": 1e6, "G": 1e9}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        value = int(number) * int(unit) if number.isdigit() else int(float(number) * unit)
    except (ValueError, OverflowError):
        value = 0
    # Larger numbers do not fit into the int64 that they are compared with.
    if not 1 <= value < 2**63:
        raise ValueError(f"{text!r} is not a whole number above 0, like 50000, 50k or 100M.")
    return value


def size(text: str) -> int:
    """Converts a number of bytes: 50000, 50k, 50kB, 100MB."""
    try:
        return count(text.removesuffix("B"))
    except ValueError:
        raise ValueError(
            f"{text!r} is not a whole number of bytes above 0, like 50000, 50k or 100MB."
        ) from None


def port(text: str) -> int:
    """Converts a port number."""
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port, 0 to 65535.")
    return int(text)


def processes(text: str) -> int:
    """Converts a number of processes."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is not a number of processes, 1 or more.")
    return int(text)


def points(text: str) -> int:
    """Converts the number of points of a curve. A BD-rate needs 2; more than 100 take a day."""
    if not text.isdecimal() or not 2 <= int(text) <= 100:
        raise ValueError(f"{text!r} is not a number of settings, 2 to 100.")
    return int(text)


def argument(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """Returns a converter whose ValueError argparse reports with its own message."""

    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(one_line(error).rstrip(".")) from None

    return converted
