"""Options that several commands have, and what their values are read as."""

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
    """Choice of metrics, and the weights of those that have some."""
    command.add_argument(
        "--metric",
        metavar="NAMES",
        default=metric_choice.ALL,
        help=f"{', '.join((*METRICS, *more))}, with commas, or all (default: all)",
    )
    add_weights(command)


def add_weights(command: argparse.ArgumentParser, names: Sequence[str] = ()) -> None:
    """Adds --weights.

    Args:
        command: parser of the command.
        names: metrics whose weights it takes (default: all that have weights).
    """
    known = list(names or metrics_with_weights())
    command.add_argument(
        "--weights",
        metavar="NAME=FILE",
        action=_AddWeights,
        type=argument(functools.partial(named_file, known)),
        default={},
        help=f"weights of a metric, of {', '.join(known)}; repeat it for more. FILE is a file, "
        "https://…#sha256=… or, for pim, a folder of released weights (default: what an "
        "environment variable such as TFC_MODELS_LPIPS names, or the weights in the package)",
    )


def add_tunable_weights(command: argparse.ArgumentParser) -> None:
    """Adds --weights of the metrics that --tune takes."""
    add_weights(command, [name for name in metrics_with_weights() if name in tunable_metrics()])


class _AddWeights(argparse.Action):
    """Collects NAME=FILE pairs in a dict."""

    def __call__(self, parser: Any, options: Any, pair: Any, option: Any = None) -> None:
        name, file = pair
        setattr(options, self.dest, {**getattr(options, self.dest), name: file})


def named_file(names: Sequence[str], text: str) -> tuple[str, str]:
    """Returns the metric and the file of NAME=FILE."""
    name, _, file = text.partition("=")
    if name not in names or not file:
        raise ValueError(
            f"{text!r} is not NAME=FILE with a NAME of {', '.join(names)}: "
            f"give for example {names[0]}=weights.npz."
        )
    return name, file


def add_effort(command: argparse.ArgumentParser) -> None:
    """Effort of the encoder."""
    command.add_argument(
        "-e",
        "--effort",
        metavar="N",
        type=argument(effort),
        default=0,
        help=f"{EFFORT_HELP} (default: 0)",
    )


def add_efforts(command: argparse.ArgumentParser) -> None:
    """Several efforts, a curve each."""
    command.add_argument(
        "-e",
        "--effort",
        metavar="N[,N…]",
        type=argument(efforts),
        default=(0,),
        help="efforts of the models' encoder, 0 to 9 (see compress): a curve for each (default: 0)",
    )


def add_tune(command: argparse.ArgumentParser, option: str) -> None:
    """Distortion that the search minimizes; `option` says how much it searches."""
    command.add_argument(
        "--tune",
        metavar="METRIC",
        type=argument(tune),
        help=f"with {option} above 0: search for the best quality by this metric, of "
        f"{', '.join(tunable_names())}, or a sum such as 'psnr + 2*lpips', at about the same size "
        "(default: that which the model was trained for)",
    )


EFFORT_HELP = (
    "time that the encoder spends on searching a smaller file for each picture, 0 (a single "
    "pass) to 9: on two cores, for a photo of 768×512, about 4 s at 1, 7 s at 3, 14 s at 6 and "
    "half a minute at 9. Files decode everywhere, and as fast as others"
)


def effort(text: str) -> int:
    """An effort of the encoder."""
    if not text.isdecimal() or int(text) > 9:
        raise ValueError(f"{text!r} is not a whole number from 0 to 9.")
    return int(text)


def efforts(text: str) -> tuple[int, ...]:
    """Efforts with commas, each once."""
    return tuple(dict.fromkeys(effort(part.strip()) for part in text.split(",")))


def tune(text: str) -> str:
    """Metrics that a search is tuned for."""
    tuned_metrics(text)
    return text


def add_peers(command: argparse.ArgumentParser) -> None:
    """Choice of the standard codecs, and of further metrics."""
    command.add_argument(
        "--codecs",
        metavar="NAMES",
        help=f"standard codecs, of {', '.join(PEERS)}, with commas (default: all that are "
        "installed)",
    )
    command.add_argument(
        "--avif-speed",
        metavar="N",
        type=argument(avif_speed),
        default=AVIF_SPEED,
        help="speed of AVIF's encoder, 0 (slowest, smallest files) to 10 (default: %(default)s)",
    )
    command.add_argument(
        "--metrics",
        metavar="NAMES",
        default="",
        help=f"metrics beside PSNR and MS-SSIM, of {', '.join(further_names())}, with commas",
    )
    add_weights(command)


def avif_speed(text: str) -> int:
    """A speed of AVIF's encoder."""
    if not text.isdecimal() or int(text) not in AVIF_SPEEDS:
        raise ValueError(f"{text!r} is not a whole number from 0 to {AVIF_SPEEDS[-1]}.")
    return int(text)


def add_inputs(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("inputs", nargs="+", metavar="FILE", help=text)


def add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        help="file to write; with many inputs a folder; - is standard output",
    )
    command.add_argument("--force", action="store_true", help="overwrite files that exist")
    command.add_argument(
        "--skip-existing", action="store_true", help="leave out inputs whose output exists"
    )
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")


def add_model(command: argparse.ArgumentParser, text: str, default: str | None) -> None:
    command.add_argument("-m", "--model", metavar="NAME", default=default, help=text)


def add_realism_weights(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--realism-weights",
        metavar="FILE",
        help="weights of a realism decoder for that model, in place of the zoo's",
    )


def add_rate(command: argparse.ArgumentParser) -> None:
    """What a model of many rates aims at: one of these."""
    group = command.add_mutually_exclusive_group()
    add_quality(group)
    for option, unit, convert in (
        ("bytes", "N", count),
        ("bpp", "X", positive),
        ("psnr", "DB", positive),
    ):
        most = "at least" if option == "psnr" else "at most"
        group.add_argument(
            f"--target-{option}",
            metavar=unit,
            type=argument(convert),
            help=f"search for the quality that gives {most} so many {_UNITS[option]}",
        )


def add_quality(command: Any) -> None:
    command.add_argument(
        "-q",
        "--quality",
        metavar="N",
        type=argument(quality),
        help="0 (smallest) to 100 (best), of a model of many rates (default: 50)",
    )


_UNITS = {"bytes": "bytes", "bpp": "bits per pixel", "psnr": "decibels"}


def quality(text: str) -> int:
    if not text.isdecimal() or int(text) > LARGEST_QUALITY:
        raise ValueError(f"{text!r} is not a whole number from 0 to {LARGEST_QUALITY}.")
    return int(text)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, lambda value: 0.0 <= value <= 1.0, "from 0 to 1")


def not_negative(text: str) -> float:
    """A number from 0 on."""
    return _number(text, lambda value: 0.0 <= value < math.inf, "from 0 on")


def positive(text: str) -> float:
    """A number above 0."""
    return _number(text, lambda value: 0.0 < value < math.inf, "above 0")


def _number(text: str, fits: Callable[[float], bool], words: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan  # which fits nowhere
    if not fits(value):
        raise ValueError(f"{text!r} is not a number {words}.")
    return value


def seed(text: str) -> int:
    """What random numbers begin with."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise ValueError(f"{text!r} is not a whole number from 0 to 4294967295.")
    return int(text)


def add_background(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--background",
        metavar="COLOR",
        type=argument(images.parse_color),
        help="put transparent pictures on this colour: a name, or #rrggbb",
    )


def add_limits(command: argparse.ArgumentParser) -> None:
    for option, default in (("pixels", DEFAULT_MAX_PIXELS), ("side", DEFAULT_MAX_SIDE)):
        command.add_argument(
            f"--max-{option}",
            metavar="N",
            type=argument(count),
            default=default,
            help=f"refuse larger pictures (default: {default:,})",
        )


def count(text: str) -> int:
    """A number of pixels or bytes: 100000000, 100M, 1e8."""
    units = {"k": 1e3, "M": 1e6, "G": 1e9}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        value = int(number) * int(unit) if number.isdigit() else int(float(number) * unit)
    except (ValueError, OverflowError):
        value = 0
    # Larger ones do not fit where they are compared.
    if not 1 <= value < 2**63:
        raise ValueError(f"{text!r} is not a whole number above 0, like 50000, 50k or 100M.")
    return value


def port(text: str) -> int:
    """A port to listen at."""
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port, 0 to 65535.")
    return int(text)


def points(text: str) -> int:
    """How many settings make a curve; a BD-rate needs two, and a day is too long to wait."""
    if not text.isdecimal() or not 2 <= int(text) <= 100:
        raise ValueError(f"{text!r} is not a number of settings, 2 to 100.")
    return int(text)


def argument(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """Tells argparse a converter's own words when it refuses."""

    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(one_line(error).rstrip(".")) from None

    return converted
