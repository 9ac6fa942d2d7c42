"""`tfc-models judge`: evaluates image metrics."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tfc_models import images
from tfc_models.cli import arguments
from tfc_models.cli.errors import CommandError, UsageError, one_line
from tfc_models.cli.input_images import center_crop, read_pixels
from tfc_models.cli.loading import silence_tensorflow
from tfc_models.cli.metric_choice import (
    UNTRAINED,
    distance_names,
    load_learned_metric,
    load_metrics,
)
from tfc_models.cli.output import Reporter, print_json, print_table
from tfc_models.cli.plan import find_inputs
from tfc_models.evaluation.measuring import finite
from tfc_models.metrics import METRICS

DESCRIPTION = """\
Evaluates metrics on images: whether a distance grows with the strength of a corruption (15
corruptions in the style of ImageNet-C), whether a shift by one pixel has a smaller distance than
a blur of equal MSE, and the rank correlation with LPIPS over distorted pairs. --bapps adds the
agreement with people on the BAPPS dataset."""
BLURRED = ("pim-bands", "pim-bands-untrained")
REFERENCE = "lpips"
COLUMNS = {
    "monotone": "monotonicity",
    "shift": "shift below blur",
    "rank": "rank correlation with LPIPS",
    "2afc": "BAPPS 2AFC",
    "jnd": "BAPPS JND",
}


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument("pictures", metavar="FOLDER", help="folder of images, or one image")
    arguments.add_metrics(command, *UNTRAINED)
    command.add_argument(
        "--pairs",
        metavar="N",
        type=arguments.argument(arguments.count),
        default=1000,
        help="number of distorted pairs (default: 1000)",
    )
    command.add_argument(
        "--side",
        metavar="PIXELS",
        type=arguments.argument(arguments.count),
        default=224,
        help="side of the central crop that is used of each image (default: 224)",
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
        help=f"seed of the random weights of {' and '.join(UNTRAINED)} (default: 0)",
    )
    command.add_argument("--bapps", metavar="FOLDER", help="folder of BAPPS; adds its scores")
    command.add_argument(
        "--bapps-side",
        metavar="PIXELS",
        type=arguments.argument(arguments.count),
        default=64,
        help="side that BAPPS patches are scaled to (default: 64, the authors' setting; NLPD "
        "needs 65, MS-SSIM 176)",
    )
    command.add_argument("--quiet", action="store_true", help="print errors only")
    arguments.add_background(command)
    arguments.add_limits(command)


def run(options: argparse.Namespace) -> int:
    """Prints a row for every metric. Returns the exit code."""
    reporter = Reporter("judge", options.quiet)
    names = distance_names(options, reporter, tuple(UNTRAINED))
    if options.blur is not None and not {*BLURRED} & {*names}:
        raise UsageError(f"--blur needs {' or '.join(BLURRED)} in --metric.")
    photos = _photos(pathlib.Path(options.pictures), options)
    silence_tensorflow()
    if options.bapps:
        from tfc_models.perceptual import bapps

        try:
            bapps.kinds(options.bapps, "2afc")
        except OSError as error:
            raise CommandError(one_line(error)) from error
    if REFERENCE not in names:
        reporter.line("Rank correlation is skipped: it needs lpips in --metric.")
    distances = _distances(names, options)
    rows: dict[str, dict[str, Any]] = {name: {} for name in names}
    trials = [("monotone", _monotone), ("shift", _shift)]
    trials += [("rank", _rank)] if REFERENCE in names else []
    trials += [("bapps", _bapps)] if options.bapps else []
    with reporter.progress(trials, "judging") as progress:
        for _, trial in progress:
            try:
                for name, result in trial(distances, photos, options).items():
                    rows[name].update(result)
            except (ValueError, OSError) as error:
                raise CommandError(one_line(error)) from error
    if options.json:
        print_json({"pictures": len(photos), "metrics": rows})
        return 0
    columns = [c for c in COLUMNS if any(c in row for row in rows.values())]
    print_table(
        {"metric": "left", **{COLUMNS[c]: "right" for c in columns}},
        ((name, *(_text(c, row.get(c)) for c in columns)) for name, row in rows.items()),
        f"{len(photos)} images",
    )
    return 0


def _text(column: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if column == "rank" else f"{value:.1%}"


def _photos(folder: pathlib.Path, options: argparse.Namespace) -> list[np.ndarray]:
    """Returns the central crop of one image, or of each image of a folder."""
    photos = []
    for file in find_inputs([str(folder)], images.has_image_suffix, "images"):
        if file.error or file.path is None:
            raise CommandError(f"{file.path}: {file.error}")
        photo = read_pixels(file.path, options)
        if min(photo.shape[:2]) < options.side:
            raise CommandError(f"{file.path} is smaller than --side {options.side}.")
        photos.append(center_crop(photo, options.side))
    return photos


def _distances(names: list[str], options: argparse.Namespace) -> dict[str, Callable[..., Any]]:
    """Returns the distances by metric, each compiled once for all its shapes."""
    import tensorflow as tf

    from tfc_models.perceptual import PIM_MIN_SIDE

    known = load_metrics([n for n in names if n not in UNTRAINED], options)
    functions = {name: metric.distance for name, metric in known.items()}
    least = dict.fromkeys(UNTRAINED, PIM_MIN_SIDE)
    least.update({name: metric.min_side for name, metric in known.items()})
    if short := [name for name in names if least[name] > options.side - 1]:
        needed = max(least[name] for name in short) + 1
        raise UsageError(f"the images are too small for {', '.join(short)}: give --side {needed}.")
    changes = {} if options.blur is None else {"blur": options.blur}
    if changes and "pim-bands" in names:
        functions["pim-bands"] = load_learned_metric("pim-bands", options, **changes).distance
    for name in UNTRAINED.keys() & {*names}:
        base = UNTRAINED[name]
        trained = load_learned_metric(base, options, **(changes if name in BLURRED else {}))
        tf.keras.utils.set_random_seed(options.seed)
        functions[name] = type(trained)(trained.settings).distance
    return {name: tf.function(functions[name], reduce_retracing=True) for name in names}


def _monotone(distances: dict[str, Any], photos: list[np.ndarray], options: Any) -> dict[str, Any]:
    from tfc_models.perceptual import trials

    return {
        name: {"monotone": float(np.mean(list(shares.values()))), "corruptions": shares}
        for name, shares in trials.monotone(distances, photos).items()
    }


def _shift(distances: dict[str, Any], photos: list[np.ndarray], options: Any) -> dict[str, Any]:
    from tfc_models.perceptual import trials

    shares = trials.shifts_beside_blurs(distances, photos)
    return {name: {"shift": finite(share)} for name, share in shares.items()}


def _rank(distances: dict[str, Any], photos: list[np.ndarray], options: Any) -> dict[str, Any]:
    from tfc_models.perceptual import trials

    pairs = list(trials.bank(photos, options.pairs, min(options.side, trials.BANK_SIDE)))
    first, second = (np.stack([pair[i] for pair in pairs]) for i in (0, 1))
    values = {name: trials.measured(d, first, second) for name, d in distances.items()}
    return {
        name: {"rank": finite(trials.rank_correlation(values[name], values[REFERENCE]))}
        for name in values
    }


def _bapps(distances: dict[str, Any], photos: list[np.ndarray], options: Any) -> dict[str, Any]:
    from tfc_models.perceptual import bapps

    # Metrics that need larger patches get a dash.
    return {
        name: bapps.score(distance, options.bapps, size=options.bapps_side)
        for name, distance in distances.items()
        if name in UNTRAINED or METRICS[name].min_side <= options.bapps_side
    }
