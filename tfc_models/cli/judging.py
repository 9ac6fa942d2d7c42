"""`tfc-models judge` and `tfc-models recover`: how good metrics are, and what they do not see."""

from __future__ import annotations

import argparse
import io
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tfc_models import pictures
from tfc_models.cli.coding import silence_tensorflow
from tfc_models.cli.errors import CommandError, UsageError, one_line
from tfc_models.cli.measuring import METRICS, learned_of, metric_names, metrics_of
from tfc_models.cli.plan import find_inputs
from tfc_models.cli.report import Reporter, print_json, print_table
from tfc_models.cli.writing import png_target, write_file
from tfc_models.evaluation.measuring import finite

UNTRAINED = {"pim-untrained": "pim", "pim-bands-untrained": "pim-bands"}
BLURRED = ("pim-bands", "pim-bands-untrained")
REFERENCE = "lpips"
COLUMNS = {
    "monotone": "stronger costs more",
    "shift": "shift under blur",
    "rank": "rank correlation with LPIPS",
    "2afc": "BAPPS 2AFC",
    "jnd": "BAPPS JND",
}
SUFFIX = ".recovered.png"


def judge(options: argparse.Namespace) -> int:
    """A row for every metric."""
    reporter = Reporter("judge", options.quiet)
    names = _names(options, reporter, tuple(UNTRAINED))
    if options.blur is not None and not {*BLURRED} & {*names}:
        raise UsageError(f"--blur is of PIM-bands: add {' or '.join(BLURRED)} to --metric.")
    photos = _photos(pathlib.Path(options.pictures), options)
    silence_tensorflow()
    if options.bapps:
        from tfc_models.perceptual import bapps

        try:
            bapps.kinds(options.bapps, "2afc")
        except OSError as error:
            raise CommandError(one_line(error)) from error
    if REFERENCE not in names:
        reporter.line("Ranks are not compared: that takes lpips among the metrics.")
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
        f"{len(photos)} pictures",
    )
    return 0


def _names(options: argparse.Namespace, reporter: Reporter, more: tuple[str, ...]) -> list[str]:
    """Distances; PSNR is MSE in other words."""
    names = [name for name in metric_names(options, reporter, more) if name != "psnr"]
    if not names:
        raise UsageError("psnr is no distance: take mse.")
    return names


def _text(column: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if column == "rank" else f"{value:.1%}"


def _photos(folder: pathlib.Path, options: argparse.Namespace) -> list[np.ndarray]:
    """Of a folder, or one picture; the middle of each, of the side that was asked for."""
    photos = []
    for found in find_inputs([str(folder)], pictures.has_picture_suffix, "pictures"):
        if found.error or found.path is None:
            raise CommandError(f"{found.path}: {found.error}")
        photo = _read(found.path, options)
        if min(photo.shape[:2]) < options.side:
            raise CommandError(f"{found.path} has less than --side {options.side} pixels a side.")
        photos.append(_middle(photo, options.side))
    return photos


def _read(path: pathlib.Path, options: argparse.Namespace) -> np.ndarray:
    try:
        return pictures.read(path, options.background, options.max_pixels, options.max_side).pixels
    except (pictures.PictureError, OSError) as error:
        raise CommandError(f"{path}: {one_line(error)}") from error


def _middle(picture: np.ndarray, side: int) -> np.ndarray:
    top, left = ((s - side) // 2 for s in picture.shape[:2])
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


def _distances(names: list[str], options: argparse.Namespace) -> dict[str, Callable[..., Any]]:
    """Each compiled once for the shapes that it will see."""
    import tensorflow as tf

    from tfc_models.perceptual import PIM_MIN_SIDE

    known = metrics_of([n for n in names if n not in UNTRAINED], options)
    functions = {name: metric.distance for name, metric in known.items()}
    least = dict.fromkeys(UNTRAINED, PIM_MIN_SIDE)
    least.update({name: metric.least for name, metric in known.items()})
    if short := [name for name in names if least[name] > options.side - 1]:
        needed = max(least[name] for name in short) + 1
        raise UsageError(f"{', '.join(short)} cannot see so small pictures: --side {needed}.")
    changes = {} if options.blur is None else {"blur": options.blur}
    if changes and "pim-bands" in names:
        functions["pim-bands"] = learned_of("pim-bands", options, **changes).distance
    for name in UNTRAINED.keys() & {*names}:
        of = UNTRAINED[name]
        trained = learned_of(of, options, **(changes if name in BLURRED else {}))
        tf.keras.utils.set_random_seed(options.seed)
        functions[name] = type(trained)(trained.settings).distance
    return {name: tf.function(functions[name], reduce_retracing=True) for name in names}


def _monotone(distances: dict[str, Any], photos: list[np.ndarray], options: Any) -> dict[str, Any]:
    from tfc_models.perceptual import trials

    del options
    return {
        name: {"monotone": float(np.mean(list(shares.values()))), "corruptions": shares}
        for name, shares in trials.monotone(distances, photos).items()
    }


def _shift(distances: dict[str, Any], photos: list[np.ndarray], options: Any) -> dict[str, Any]:
    from tfc_models.perceptual import trials

    del options
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
    from tfc_models import metrics
    from tfc_models.perceptual import bapps

    del photos
    # Whatever cannot see patches of that size has a dash.
    return {
        name: bapps.score(distance, options.bapps, size=options.bapps_side)
        for name, distance in distances.items()
        if name in UNTRAINED or metrics.METRICS[name].least <= options.bapps_side
    }


def recover(options: argparse.Namespace) -> int:
    """A figure, and a table of what is left of each distance."""
    source = pathlib.Path(options.picture)
    target = png_target(options, SUFFIX, "the figure")
    reporter = Reporter("recover", options.quiet)
    names = _names(options, reporter, ())
    picture = _read(source, options)
    reference = _middle(picture, min(options.side, *picture.shape[:2]))
    silence_tensorflow()
    known = metrics_of(names, options)
    least = {name: known[name].least for name in names}
    if short := [name for name in names if least[name] > min(reference.shape[:2])]:
        needed = max(least[name] for name in short)
        raise UsageError(f"{', '.join(short)} cannot see so small pictures: --side {needed}.")
    from tfc_models.perceptual import recovery

    distances = {name: known[name].distance for name in names}
    results: list[recovery.Recovered] = []
    jobs = [(start, name) for start in recovery.STARTS for name in names]
    with reporter.progress(jobs, "recovering") as progress:
        for start, name in progress:
            softened = known[name].softened
            found = recovery.recover(
                reference, distances, name, start, options.steps, softened=softened
            )
            results.append(found)
    buffer = io.BytesIO()
    recovery.recovery_figure(reference, results).savefig(buffer, format="png", dpi=150)
    write_file(target, buffer.getvalue(), options.force)
    if options.json:
        print_json(
            [{"metric": r.metric, "start": r.start, "distances": r.distances} for r in results]
        )
    elif not options.quiet:
        print_table(
            {"start": "left", "minimized": "left", **{METRICS[n].title: "right" for n in names}},
            ((r.start, r.metric, *(_left(*r.distances[name]) for name in names)) for r in results),
            "what is left of the start's distance",
        )
    reporter.line(f"{source} → {target}")
    return 0


def _left(first: float, last: float) -> str:
    return f"{last / first:.2%}" if first else "–"
