"""Compares an allocation over a set of images to a single quality for all of them.

    python -m benchmarks.allocation quality FOLDERS --codecs avif --qualities 20,24,28 --bpp 0.15
    python -m benchmarks.allocation realism FOLDERS --qualities 0,10,20,30,40 --bpp 0.15
    python -m benchmarks.allocation solver --images 100000 --limits 2

`quality` minimizes the mean MSE, or maximizes the mean PSNR, within each budget of bits per pixel
of the whole set. The single quality is the best one within the budget; `interpolated` is the curve
of single qualities at the budget. `realism` chooses a quality and a realism (0, 0.5 or 1) of the
default model for each image: it minimizes MSE (RD), MSE with a limit of LPIPS or LPIPS with a limit
of MSE (RDP), or LPIPS (RP), each within the budget. LPIPS needs TFC_MODELS_LPIPS. --measurements
names a file of measurements, from which a second run continues. `solver` solves a random program
with 101 qualities per image under one to three limits, and prints its gap, time and memory.
"""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

import tfc_models
from tfc_models import allocation, images
from tfc_models.allocation import Candidate, Goal
from tfc_models.allocation.measuring import MeasuringSettings
from tfc_models.analysis.plots import SETTINGS
from tfc_models.models.stored import digest
from tfc_models.training.source_plots import save_webp

REALISM = (0.0, 0.5, 1.0)
# Limits of MSE of the RDP programs, between those of RD (0) and RP (1).
SHARES = (0.25, 0.5)
COLORS = ("#0072b2", "#56b4e9", "#009e73", "#b8860b", "#c44e52")
Rows = list["tuple[allocation.Measurement | None, ...]"]


class LastFile:
    """Encoder that keeps its last file, as several decoders read the same one."""

    def __init__(self, encode: Callable[[np.ndarray], bytes]) -> None:
        self._encode = encode
        self._image, self._data = np.zeros(0), b""

    def __call__(self, image: np.ndarray) -> bytes:
        if image is not self._image:
            self._image, self._data = image, self._encode(image)
        return self._data


def realism_candidates(qualities: Sequence[float]) -> list[Candidate]:
    """Returns the default model at all qualities and realisms."""
    codec = tfc_models.load("default")
    weights = digest(codec.realism_decoder().state()).hex()
    settings = allocation.CodecSettings(qualities=tuple(qualities or ()))
    result = []
    for candidate in settings.candidates(lambda name: codec):
        encode = LastFile(candidate.setting.encode)
        for realism in REALISM:
            setting = candidate.setting._replace(
                label=f"{candidate.setting.label}, realism {realism:g}",
                identity=f"{candidate.setting.identity} realism {realism:g} {weights}",
                encode=encode,
                decode=partial(codec.decompress, max_pixels=2**62, max_side=2**62, realism=realism),
            )
            result.append(candidate._replace(setting=setting))
    return result


def image_paths(folders: Sequence[str]) -> list[pathlib.Path]:
    """Returns the images of all folders, and images given as files."""
    files = [p for f in map(pathlib.Path, folders) for p in ([f] if f.is_file() else f.iterdir())]
    found = sorted(path for path in files if images.has_image_suffix(path))
    if not found:
        raise SystemExit("there are no images.")
    return found


def measured(
    paths: list[pathlib.Path], settings: MeasuringSettings, candidates: list[Candidate]
) -> Rows:
    """Returns the measurements of all images. Fails if one is missing."""
    rows = []
    with allocation.Measurer(settings, candidates) as measurer:
        for result in map(measurer.measure, paths):
            if result.error or not all(result.measurements):
                raise SystemExit(f"{result.path}: {result.error or 'a codec failed'}")
            rows.append(result.measurements)
    return rows


def psnr(mse: float) -> float:
    return float(10 * np.log10(255**2 / mse))


def figures_of(rows: Rows, choice: Sequence[int], pixels: int, metrics: Sequence[str] = ()) -> str:
    """Returns cells: bpp, mean PSNR, PSNR of the mean MSE, further metrics."""
    found = allocation.totals(rows, choice, metrics)
    cells = [f"{8 * found.bytes / pixels:.4f}", f"{found.psnr:.3f}", f"{psnr(found.mse):.3f}"]
    return " | ".join([*cells, *(f"{found.further[name]:.4f}" for name in metrics)])


def interpolated(rows: Rows, candidates: list[Candidate], size: int, codec: str) -> str:
    """Returns cells of a codec's single-quality curve at a size, linear in log bytes."""
    own = [i for i, candidate in enumerate(candidates) if candidate.codec == codec]
    points = sorted(allocation.totals(rows, [i] * len(rows))[:3] for i in own)
    sizes, errors, decibels = (np.array(column) for column in zip(*points))
    if not sizes[0] <= size <= sizes[-1]:
        return "– | –"
    mean = np.interp(np.log(size), np.log(sizes), decibels)
    of_mean = np.interp(np.log(size), np.log(sizes), [psnr(error) for error in errors])
    return f"{mean:.3f} | {of_mean:.3f}"


def counts(labels: Sequence[str], order: Sequence[str]) -> str:
    tally = collections.Counter(labels)
    return ", ".join(f"{label}: {tally[label]}" for label in order if tally[label])


def quality_tables(options: argparse.Namespace) -> None:
    """Prints single qualities and allocations at each budget."""
    paths = image_paths(options.folders)
    pixels = sum(int(np.prod(Image.open(path).size)) for path in paths)
    codecs = allocation.CodecSettings(
        tuple(options.codecs.split(",")), qualities=tuple(options.qualities or ())
    )
    candidates = codecs.candidates()
    settings = MeasuringSettings(codecs, path=options.measurements)
    rows = measured(paths, settings, candidates)
    print(f"{len(paths)} images, {pixels / 1e6:.1f} megapixels.\n")
    print("| single quality | bpp | mean PSNR | PSNR of mean MSE |\n|---|---|---|---|")
    for index, candidate in enumerate(candidates):
        print(f"| {candidate.label} | {figures_of(rows, [index] * len(rows), pixels)} |")
    print("\n| budget, bpp | choice | bpp | mean PSNR | PSNR of mean MSE | gap |\n|" + "---|" * 6)
    for bpp in options.bpp:
        total = int(bpp * pixels / 8)
        problem = Goal(total=total).program(rows)
        single = allocation.best_single(problem)
        if single is not None:
            cells = figures_of(rows, [single] * len(rows), pixels)
            print(f"| {bpp:g} | {candidates[single].label} | {cells} | |")
        for codec in dict.fromkeys(candidate.codec for candidate in candidates):
            cells = interpolated(rows, candidates, total, codec)
            print(f"| {bpp:g} | {codec}, interpolated | {bpp:.4f} | {cells} | |")
        for objective in ("mse", "psnr"):
            found = allocation.solve(Goal(objective, total).program(rows))
            labels = [candidates[index].label for index in found.choice]
            chosen = counts(labels, [candidate.label for candidate in candidates])
            cells = figures_of(rows, found.choice, pixels)
            title = f"optimized for {objective} ({chosen})"
            print(f"| {bpp:g} | {title} | {cells} | {found.gap:.1e} |")


def realism_tables(options: argparse.Namespace) -> None:
    """Prints the RD, RDP and RP programs at each budget."""
    paths = image_paths(options.folders)
    pixels = sum(int(np.prod(Image.open(path).size)) for path in paths)
    candidates = realism_candidates(options.qualities)
    settings = MeasuringSettings(allocation.CodecSettings(), ("lpips",), path=options.measurements)
    rows = measured(paths, settings, candidates)
    print(f"{len(paths)} images, {pixels / 1e6:.1f} megapixels.\n")
    heads = "bpp | mean PSNR | PSNR of mean MSE | LPIPS"
    print(f"| single option | {heads} |\n|" + "---|" * 5)
    for index, candidate in enumerate(candidates):
        print(f"| {candidate.label} | {figures_of(rows, [index] * len(rows), pixels, ['lpips'])} |")
    names = [f"realism {realism:g}" for realism in REALISM]
    points: dict[str, list[tuple[float, float, float]]] = {}
    print(f"\n| budget, bpp | program | {heads} | {' | '.join(names)} | gap |\n|" + "---|" * 10)
    for bpp in options.bpp:
        total = int(bpp * pixels / 8)
        ends = []
        for objective in ("mse", "lpips"):
            choice = allocation.solve(Goal(objective, total).program(rows)).choice
            ends.append(allocation.totals(rows, choice, ["lpips"]))
        errors = [ends[0].mse + share * (ends[1].mse - ends[0].mse) for share in SHARES]
        distance = (ends[0].further["lpips"] + ends[1].further["lpips"]) / 2
        goals = {"RD": Goal("mse", total)}
        goals[f"RDP, LPIPS ≤ {distance:.4f}"] = Goal("mse", total, {"lpips": distance})
        goals |= {f"RDP, MSE ≤ {m:.2f}": Goal("lpips", total, {"mse": m}) for m in errors}
        goals["RP"] = Goal("lpips", total)
        for title, goal in goals.items():
            found = allocation.solve(goal.program(rows))
            levels = [candidates[index].setting.label.partition(", ")[2] for index in found.choice]
            numbers = " | ".join(str(levels.count(name)) for name in names)
            cells = figures_of(rows, found.choice, pixels, ["lpips"])
            print(f"| {bpp:g} | {title} | {cells} | {numbers} | {found.gap:.1e} |")
            result = allocation.totals(rows, found.choice, ["lpips"])
            kind = title.partition(" ≤")[0]
            if kind.endswith("MSE"):
                kind += f" {SHARES[errors.index(goal.means['mse'])]:g} of the way to RP"
            points.setdefault(kind, []).append((bpp, psnr(result.mse), result.further["lpips"]))
    if options.plot:
        title = f"{len(paths)} images, three levels of realism"
        save_webp(program_plot(points, title), options.plot)


def program_plot(points: dict[str, list[tuple[float, float, float]]], title: str) -> Figure:
    """Returns the plots of PSNR and LPIPS over the budget for each program."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(9.2, 4.2), layout="constrained")
        for axes, column, name in zip(
            figure.subplots(1, 2),
            (1, 2),
            ("PSNR of the mean MSE, dB", "mean LPIPS (lower is better)"),
        ):
            for (kind, rows), color, marker in zip(points.items(), COLORS, "osD^v"):
                bpp, *values = zip(*rows)
                axes.plot(bpp, values[column - 1], marker, ls="-", color=color, label=kind, ms=5)
            axes.set_xlabel("budget, bits per pixel")
            axes.set_ylabel(name)
            axes.grid(color="#dddddd", linewidth=0.6)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
        figure.suptitle(title, x=0.06, ha="left", fontsize=11)
    return figure


def solver_figures(options: argparse.Namespace) -> None:
    """Solves a program with curves like those of codecs, with 2 % of noise."""
    rng, count = np.random.default_rng(0), options.images
    quality, noise = np.linspace(0, 1, 101), rng.normal(1, 0.02, (3, count, 101))
    scale = rng.lognormal(0, 1, (count, 1))
    sizes = np.ceil(2000 * scale * np.exp(rng.uniform(3, 5, (count, 1)) * quality) * noise[0])
    errors = 300 * np.sqrt(scale) * np.exp(-rng.uniform(1.5, 3.5, (count, 1)) * quality) * noise[1]
    distances = 0.5 * np.exp(-rng.uniform(0.5, 2.5, (count, 1)) * quality) * noise[2]
    other = rng.random((count, 101))
    problem = allocation.program(
        errors,
        (
            allocation.Limit("bytes", sizes, float(sizes[:, 40].sum())),
            allocation.Limit("LPIPS", distances, 0.9 * float(distances[:, 43].sum())),
            allocation.Limit("another metric", other, 0.45 * count),
        )[: options.limits],
    )
    start, process_start = time.perf_counter(), time.process_time()
    found = allocation.solve(problem)
    seconds, process = time.perf_counter() - start, time.process_time() - process_start
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    used = ", ".join(f"{share:.6f}" for share in problem.sums(found.choice) / problem.most)
    print(f"{count:,} images × 101 qualities, {options.limits} limits: {found.method},")
    print(
        f"gap {found.gap:.1e}, {seconds:.1f} s, {process:.1f} s of processor time, "
        f"{megabytes:,.0f} MB peak, limits used: {used}"
    )


def main() -> None:
    def numbers(text: str) -> list[float]:
        return [float(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("quality", "realism", "solver"))
    parser.add_argument("folders", nargs="*", help="folders of images, and images")
    parser.add_argument("--codecs", default="default")
    parser.add_argument("--qualities", type=numbers, help="default: 11 over the range of the codec")
    parser.add_argument("--bpp", type=numbers, default=[0.15], help="budgets, in bits per pixel")
    parser.add_argument("--measurements", type=pathlib.Path, help="file of measurements")
    parser.add_argument("--plot", type=pathlib.Path, help="for realism: WebP file of the figure")
    parser.add_argument("--images", type=int, default=100_000, help="for solver")
    parser.add_argument("--limits", type=int, choices=(1, 2, 3), default=1, help="for solver")
    options = parser.parse_args()
    tables = {"quality": quality_tables, "realism": realism_tables, "solver": solver_figures}
    tables[options.what](options)


if __name__ == "__main__":
    main()
