"""`tfc-models metrics`: compares pairs of images by every metric."""

from __future__ import annotations

import argparse
import math
import pathlib
from typing import Any, NamedTuple

import numpy as np

from tfc_models import images
from tfc_models.cli import arguments
from tfc_models.cli.errors import FAILED, CommandError, UsageError, one_line
from tfc_models.cli.loading import silence_tensorflow
from tfc_models.cli.metric_choice import load_learned_metric, load_metrics, metric_names
from tfc_models.cli.output import Reporter, print_json, print_table
from tfc_models.cli.plan import UNREADABLE, InputFile, find_inputs
from tfc_models.evaluation.measuring import figure_text, finite
from tfc_models.metrics import METRICS

DESCRIPTION = """\
Compares A with B: two images of equal size, or two folders whose images have the same names,
ignoring suffixes. For equal images MSE, NLPD, LPIPS, PIM, PIM-bands and the semantic metric are 0,
SSIM and MS-SSIM are 1. A dash means that an image is too small for a metric; means ignore it."""
PATCH = 64


class _Pair(NamedTuple):
    name: str
    files: tuple[InputFile, InputFile]


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument("first", metavar="A", help="image, or folder of images")
    command.add_argument("second", metavar="B", help="image or folder to compare with A")
    arguments.add_metrics(command)
    command.add_argument(
        "--sets",
        action="store_true",
        help="add the Fréchet and kernel distances between PIM-bands features of all "
        f"{PATCH}×{PATCH} patches of A and of B",
    )
    command.add_argument("--quiet", action="store_true", help="print errors only")
    arguments.add_background(command)
    arguments.add_limits(command)


def run(options: argparse.Namespace) -> int:
    """Prints a row for every pair, and the means. Returns the exit code."""
    reporter = Reporter("metrics", options.quiet)
    names = metric_names(options, reporter)
    pairs = _pairs(options, reporter)
    silence_tensorflow()
    functions = load_metrics(names, options)
    sets = _Sets(options) if options.sets else None
    rows: dict[str, dict[str, float | None]] = {}
    with reporter.progress(pairs, "measuring") as progress:
        for pair in progress:
            try:
                batches = _read(pair, options, reporter)
                rows[pair.name] = _measure(batches, functions)
                if sets:
                    sets.add(batches)
            except (images.ImageError, CommandError, OSError) as error:
                reporter.error(f"{pair.name}: {one_line(error)}")
    if not rows:
        return FAILED
    means = {name: _mean([row[name] for row in rows.values()]) for name in names}
    set_distances = sets.distances() if sets else {}
    if options.json:
        results = [{"pair": pair, **_without_infinity(row)} for pair, row in rows.items()]
        document = {"pairs": results, "mean": _without_infinity(means)}
        print_json({**document, "sets": set_distances} if sets else document)
    else:
        _print(names, rows, means)
        if sets:
            print(
                f"PIM-bands features of {set_distances['patches']} patches of {PATCH}×{PATCH}: "
                f"Fréchet distance {set_distances['frechet']:.4f}, "
                f"kernel distance {set_distances['kernel']:.6f}"
            )
    return FAILED if reporter.failures else 0


def _pairs(options: argparse.Namespace, reporter: Reporter) -> list[_Pair]:
    """Pairs two files, or the files of two folders by name without suffix."""
    sides = [pathlib.Path(options.first), pathlib.Path(options.second)]
    if sides[0].is_dir() != sides[1].is_dir():
        raise UsageError("give two images, or two folders of images.")
    inputs = [find_inputs([str(s)], images.has_image_suffix, "images") for s in sides]
    if not sides[0].is_dir():
        return [_Pair(sides[1].name, (inputs[0][0], inputs[1][0]))]
    by_name: list[dict[str, InputFile]] = []
    for side, files in zip(sides, inputs):
        by_stem: dict[str, InputFile] = {}
        for file in files:
            if file.error == UNREADABLE:
                reporter.error(f"{file.path}: {file.error}")
                continue
            if file.error:
                raise CommandError(f"{file.path}: {file.error}")
            name = file.relative.with_suffix("").as_posix()
            if name in by_stem:
                raise CommandError(
                    f"{side} has both {by_stem[name].relative} and {file.relative}: "
                    "files are paired by name without suffix."
                )
            by_stem[name] = file
        by_name.append(by_stem)
    first, second = by_name
    for name in sorted(first.keys() ^ second.keys()):
        other = sides[1] if name in first else sides[0]
        path = first[name].path if name in first else second[name].path
        reporter.error(f"{path}: {other} has no {name}; it is skipped.")
    return [_Pair(name, (first[name], second[name])) for name in first if name in second]


class _Sets:
    """PIM-bands features of the patches of both sides."""

    def __init__(self, options: argparse.Namespace) -> None:
        import tensorflow as tf

        model = load_learned_metric("pim-bands", options)
        self._summary = tf.function(model.summary, reduce_retracing=True)
        self._rows: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def add(self, batches: list[np.ndarray]) -> None:
        """Adds the patches of a pair of images. Images smaller than a patch have none."""
        from tfc_models.metrics import patches_of

        for rows, batch in zip(self._rows, batches):
            patches = patches_of(batch[0], PATCH)
            rows += [self._summary(patches[i : i + 32]).numpy() for i in range(0, len(patches), 32)]

    def distances(self) -> dict[str, Any]:
        """Returns the distances between the two sets of patches."""
        from tfc_models.metrics import frechet_distance, kernel_distance

        count = sum(len(rows) for rows in self._rows[0])
        if count < 2:
            raise CommandError(f"--sets needs at least two patches of {PATCH}×{PATCH} pixels.")
        sides = [np.concatenate(rows) for rows in self._rows]
        distances = {"frechet": frechet_distance(*sides), "kernel": kernel_distance(*sides)}
        return {"extractor": "pim-bands", "patch": PATCH, "patches": count, **distances}


def _read(pair: _Pair, options: argparse.Namespace, reporter: Reporter) -> list[np.ndarray]:
    """Returns both images of a pair, which must have equal size, as batches of one image."""
    batches = []
    for file in pair.files:
        if file.error or file.path is None:
            raise CommandError(f"{file.path}: {file.error or 'not a file'}")
        limits = options.max_pixels, options.max_side
        try:
            image = images.read(file.path, options.background, *limits)
        except (images.ImageError, OSError) as error:
            raise CommandError(f"{file.path}: {one_line(error)}") from error
        for note in image.notes:
            reporter.line(f"{file.path}: {note}")
        batches.append(image.pixels[None])
    sizes = [f"{b.shape[2]}×{b.shape[1]}" for b in batches]
    if sizes[0] != sizes[1]:
        raise CommandError(f"the images differ in size: {sizes[0]} and {sizes[1]}.")
    return batches


def _measure(batches: list[np.ndarray], functions: dict[str, Any]) -> dict[str, float | None]:
    """Returns the values by metric; None if the image is too small."""
    values = {name: float(metric.of_pair(*batches)) for name, metric in functions.items()}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _without_infinity(row: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else finite(value) for name, value in row.items()}


def _print(
    names: list[str],
    rows: dict[str, dict[str, float | None]],
    means: dict[str, float | None],
) -> None:
    columns = {"image": "left", **{METRICS[name].heading: "right" for name in names}}
    if len(rows) > 1:
        rows = {**rows, f"mean of {len(rows)}": means}
    print_table(
        columns,
        (
            (pair, *(figure_text(row[name], METRICS[name].digits) for name in names))
            for pair, row in rows.items()
        ),
    )
