"""`tfc-models metrics`: how far pictures are from others, by every metric."""

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
from tfc_models.cli.metric_choice import learned_of, metric_names, metrics_of
from tfc_models.cli.output import Reporter, print_json, print_table
from tfc_models.cli.plan import UNREADABLE, Found, find_inputs
from tfc_models.evaluation.measuring import figure_text, finite
from tfc_models.metrics import METRICS

DESCRIPTION = """\
Measures how far B is from A: two pictures of one size, or two folders whose pictures have the
same names, whatever their suffixes. MSE, NLPD, LPIPS, PIM, PIM-bands and the semantic metric are
0 at equality, SSIM and MS-SSIM 1. A dash stands where a picture is too small for a metric; means
are of the others."""
PATCH = 64


class _Pair(NamedTuple):
    name: str
    files: tuple[Found, Found]


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    command.add_argument("first", metavar="A", help="picture, or folder of pictures")
    command.add_argument("second", metavar="B", help="the other ones")
    arguments.add_metrics(command)
    command.add_argument(
        "--sets",
        action="store_true",
        help="also the Fréchet and the kernel distance between both sides' patches of "
        f"{PATCH}×{PATCH} pixels, of PIM-bands' features",
    )
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")
    arguments.add_background(command)
    arguments.add_limits(command)


def run(options: argparse.Namespace) -> int:
    """A row for every pair, and their means."""
    reporter = Reporter("metrics", options.quiet)
    names = metric_names(options, reporter)
    pairs = _pairs(options, reporter)
    silence_tensorflow()
    functions = metrics_of(names, options)
    sets = _Sets(options) if options.sets else None
    rows: dict[str, dict[str, float | None]] = {}
    with reporter.progress(pairs, "measuring") as progress:
        for pair in progress:
            try:
                batches = _read(pair, options, reporter)
                rows[pair.name] = _measured(batches, functions)
                if sets:
                    sets.add(batches)
            except (images.ImageError, CommandError, OSError) as error:
                reporter.error(f"{pair.name}: {one_line(error)}")
    if not rows:
        return FAILED
    means = {name: _mean([row[name] for row in rows.values()]) for name in names}
    apart = sets.distances() if sets else {}
    if options.json:
        results = [{"pair": pair, **_without_infinity(row)} for pair, row in rows.items()]
        told = {"sets": apart} if sets else {}
        print_json({"pairs": results, "mean": _without_infinity(means), **told})
    else:
        _print(names, rows, means)
        if sets:
            print(
                f"{apart['patches']} patches of {PATCH}×{PATCH} a side, of PIM-bands' features: "
                f"Fréchet distance {apart['frechet']:.4f}, kernel distance {apart['kernel']:.6f}"
            )
    return FAILED if reporter.failures else 0


def _pairs(options: argparse.Namespace, reporter: Reporter) -> list[_Pair]:
    """Two files, or what has the same name in two folders, whatever the suffix."""
    sides = [pathlib.Path(options.first), pathlib.Path(options.second)]
    if sides[0].is_dir() != sides[1].is_dir():
        raise UsageError("give two pictures, or two folders of pictures.")
    found = [find_inputs([str(s)], images.has_image_suffix, "pictures") for s in sides]
    if not sides[0].is_dir():
        return [_Pair(sides[1].name, (found[0][0], found[1][0]))]
    by_name: list[dict[str, Found]] = []
    for side, files in zip(sides, found):
        by_stem: dict[str, Found] = {}
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
                    "pairs go by names without suffixes."
                )
            by_stem[name] = file
        by_name.append(by_stem)
    first, second = by_name
    for name in sorted(first.keys() ^ second.keys()):
        other = sides[1] if name in first else sides[0]
        path = first[name].path if name in first else second[name].path
        reporter.error(f"{path}: {other} has no {name}; left out.")
    return [_Pair(name, (first[name], second[name])) for name in first if name in second]


class _Sets:
    """Patches of both sides, as features of PIM-bands."""

    def __init__(self, options: argparse.Namespace) -> None:
        import tensorflow as tf

        model = learned_of("pim-bands", options)
        self._summary = tf.function(model.summary, reduce_retracing=True)
        self._rows: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def add(self, batches: list[np.ndarray]) -> None:
        """A pair of pictures; those that are smaller than a patch have none."""
        from tfc_models.metrics import patches_of

        for rows, batch in zip(self._rows, batches):
            patches = patches_of(batch[0], PATCH)
            rows += [self._summary(patches[i : i + 32]).numpy() for i in range(0, len(patches), 32)]

    def distances(self) -> dict[str, Any]:
        """Between the sides."""
        from tfc_models.metrics import frechet_distance, kernel_distance

        count = sum(len(rows) for rows in self._rows[0])
        if count < 2:
            raise CommandError(f"sets need two patches of {PATCH}×{PATCH} pixels or more a side.")
        sides = [np.concatenate(rows) for rows in self._rows]
        found = {"frechet": frechet_distance(*sides), "kernel": kernel_distance(*sides)}
        return {"extractor": "pim-bands", "patch": PATCH, "patches": count, **found}


def _read(pair: _Pair, options: argparse.Namespace, reporter: Reporter) -> list[np.ndarray]:
    """Both pictures, of one size, each as a batch."""
    batches = []
    for file in pair.files:
        if file.error or file.path is None:
            raise CommandError(f"{file.path}: {file.error or 'not a file'}")
        limits = options.max_pixels, options.max_side
        try:
            picture = images.read(file.path, options.background, *limits)
        except (images.ImageError, OSError) as error:
            raise CommandError(f"{file.path}: {one_line(error)}") from error
        for note in picture.notes:
            reporter.line(f"{file.path}: {note}")
        batches.append(picture.pixels[None])
    sizes = [f"{b.shape[2]}×{b.shape[1]}" for b in batches]
    if sizes[0] != sizes[1]:
        raise CommandError(f"the pictures differ in size: {sizes[0]} and {sizes[1]}.")
    return batches


def _measured(batches: list[np.ndarray], functions: dict[str, Any]) -> dict[str, float | None]:
    """None for a metric that the picture is too small for."""
    values = {name: float(metric.of_pair(*batches)) for name, metric in functions.items()}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _without_infinity(row: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else finite(value) for name, value in row.items()}


def _print(
    names: list[str],
    rows: dict[str, dict[str, float | None]],
    means: dict[str, float | None],
) -> None:
    columns = {"picture": "left", **{METRICS[name].heading: "right" for name in names}}
    if len(rows) > 1:
        rows = {**rows, f"mean of {len(rows)}": means}
    print_table(
        columns,
        (
            (pair, *(figure_text(row[name], METRICS[name].digits) for name in names))
            for pair, row in rows.items()
        ),
    )
