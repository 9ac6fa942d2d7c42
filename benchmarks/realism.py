"""Compares realism 0 and 1 of the same files to other codecs.

    python -m benchmarks.realism --pictures FOLDER --qualities 5,15,30,60 \
        --plot OUT.webp --sheet OUT.webp --shown 15

Every picture is coded once for each quality, and decoded at each --amounts of realism; JPEG, WebP
and AVIF code it at the setting whose file is nearest in size. Distances between sets are of all
64×64 patches, as features of PIM-bands. Needs TFC_MODELS_LPIPS for LPIPS.
"""

from __future__ import annotations

import argparse
import os
import pathlib
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

import tfc_models
from benchmarks.equal_size import image_metrics
from tfc_models import images, metrics
from tfc_models.analysis.plots import SETTINGS
from tfc_models.evaluation import PEERS, sheet
from tfc_models.metrics.pim import default_model
from tfc_models.training.source_plots import STYLES, save_webp

OTHERS = ("jpeg", "webp", "avif")
PATCH, PATCHES = 64, 32
SHOWN = ("psnr", "ms-ssim", "lpips", "pim-bands")
TITLES = {
    "psnr": "PSNR, dB",
    "ms-ssim": "MS-SSIM",
    "lpips": "LPIPS",
    "pim-bands": "PIM-bands",
    "frechet": "Fréchet",
    "kernel": "kernel × 1000",
}
DETAIL, ZOOM, GAP = (
    144,
    2,
    6,
)  # of the contact sheet: side of a detail in pixels, magnification, and distance


class Tally:
    """Results of a codec at one setting, over all images."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.features: list[np.ndarray] = []

    def means(self, original: np.ndarray) -> dict[str, float]:
        """Returns means over images, and distances of the set's features from the originals'."""
        found = {k: float(np.mean([row[k] for row in self.rows])) for k in self.rows[0]}
        features = np.concatenate(self.features)
        found["frechet"] = metrics.frechet_distance(original, features)
        found["kernel"] = 1000.0 * metrics.kernel_distance(original, features)
        return found


def measure(
    folder: str, qualities: list[int], amounts: list[float], weights: str | None
) -> tuple[dict[tuple[str, int], dict[str, float]], dict[int, list[list[np.ndarray]]]]:
    """Returns figures by codec and quality, and the images of each quality, original first."""
    codec = tfc_models.load("default", weights)
    names = [n for n in SHOWN if not metrics.METRICS[n].missing_weights]
    functions = {name: metrics.named(name).function for name in names}
    summary = tf.function(default_model("pim-bands").summary, reduce_retracing=True)

    def features(pixels: np.ndarray) -> np.ndarray:
        patches = metrics.patches_of(pixels.astype(np.float32), PATCH)
        batches = (patches[i : i + PATCHES] for i in range(0, len(patches), PATCHES))
        return metrics.features_of(batches, lambda batch: summary(batch).numpy())

    tallies: dict[tuple[str, int], Tally] = {}
    shown: dict[int, list[list[np.ndarray]]] = {quality: [] for quality in qualities}
    originals = []
    for path in sorted(pathlib.Path(folder).iterdir()):
        if not images.has_image_suffix(path):
            continue
        picture = images.read(path, background=(255, 255, 255)).pixels
        originals.append(features(picture))
        for quality in qualities:
            data = codec.compress(picture, quality)
            decoded = {f"realism {a:g}": codec.decompress(data, realism=a) for a in amounts}
            sizes = dict.fromkeys(decoded, len(data))
            for name in OTHERS:
                peer = PEERS[name]
                coded = peer.encode(picture, peer.at_size(picture, len(data)))
                decoded[peer.title], sizes[peer.title] = peer.decode(coded), len(coded)
            for title, pixels in decoded.items():
                tally = tallies.setdefault((title, quality), Tally())
                bpp = 8.0 * sizes[title] / (picture.shape[0] * picture.shape[1])
                tally.rows.append({"bpp": bpp, **image_metrics(picture, pixels, functions)})
                tally.features.append(features(pixels))
            ends = [decoded[f"realism {a:g}"] for a in (amounts[0], amounts[-1])]
            shown[quality].append([picture, decoded[PEERS["avif"].title], *ends])
    if not originals:
        raise SystemExit(f"there are no pictures in {folder}.")
    reference = np.concatenate(originals)
    return {key: tally.means(reference) for key, tally in tallies.items()}, shown


def table(found: dict[tuple[str, int], dict[str, float]]) -> list[str]:
    """Returns a Markdown table by quality."""
    columns = [name for name in ("bpp", *TITLES) if name in next(iter(found.values()))]
    digits = {"bpp": 3, "psnr": 2, "ms-ssim": 4, "lpips": 3, "pim-bands": 2}
    digits |= {"frechet": 1, "kernel": 0}
    lines = [f"| quality | decoded | {' | '.join(TITLES.get(c, c) for c in columns)} |"]
    lines.append(f"|{'---|' * (2 + len(columns))}")
    for title, quality in sorted(found, key=lambda key: key[1]):
        row = found[title, quality]
        told = " | ".join(f"{row[name]:.{digits[name]}f}" for name in columns)
        lines.append(f"| {quality} | {title} | {told} |")
    return lines


def plot(found: dict[tuple[str, int], dict[str, float]], path: pathlib.Path) -> None:
    """Plots each figure over bits per pixel."""
    titles = list(dict.fromkeys(title for title, _ in found))
    names = [name for name in TITLES if name in next(iter(found.values()))]
    with rc_context({**SETTINGS, "font.size": 8}):
        figure = Figure(figsize=(8.4, 5.0), layout="constrained")
        panels = figure.subplots(2, -(-len(names) // 2)).ravel()
        for axes, name in zip(panels, names):
            for i, title in enumerate(titles):
                points = sorted((v["bpp"], v[name]) for (t, _), v in found.items() if t == title)
                style = dict(STYLES[i % len(STYLES)], markersize=5)
                axes.plot(*zip(*points), label=title, **style)
            better = "higher" if name in ("psnr", "ms-ssim") else "lower"
            axes.set_title(f"{TITLES[name]} ({better} is better)", fontsize=9)
            axes.set_xlabel("bits per pixel")
            axes.set_xscale("log")
            ticks = sorted({round(v["bpp"], 2) for (t, _), v in found.items() if t == titles[0]})
            axes.set_xticks(ticks, [f"{t:g}" for t in ticks], minor=False)
            axes.set_xticks([], minor=True)
            axes.spines[["top", "right"]].set_visible(False)
        for axes in panels[len(names) :]:
            axes.remove()
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    save_webp(figure, path)


def contact(rows: list[list[np.ndarray]], titles: list[str], path: pathlib.Path) -> None:
    """Writes the most detailed square of each image, magnified, for each codec."""
    lines = []
    for row in rows:
        light = row[0].astype(np.float32).mean(-1)
        rough = np.abs(np.diff(light, axis=0))[:, :-1] + np.abs(np.diff(light, axis=1))[:-1]
        side = min(DETAIL, *rough.shape)
        total = np.pad(rough.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        sums = total[side:] - total[:-side]
        sums = sums[:, side:] - sums[:, :-side]
        # Not the square with the highest variance, which is noise with all codecs.
        place = np.argsort(sums, axis=None)[int(0.9 * (sums.size - 1))]
        top, left = np.unravel_index(int(place), sums.shape)
        box = sheet.Box(int(left), int(top), side, side)
        lines.append([sheet.enlarged(box.of(pixels), ZOOM) for pixels in row])
    tiles = []
    for column, title in enumerate(titles):
        tiles.append(sheet.tile([line[column] for line in lines], title, (), ZOOM * DETAIL))
    gap = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    joined = np.concatenate([x for t in tiles for x in (t, gap)][:-1], axis=1)
    Image.fromarray(joined).save(path, quality=70, method=6)


def main() -> None:
    def numbers(kind: type) -> Any:
        return lambda text: [kind(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--qualities", type=numbers(int), default=[5, 15, 30, 60])
    parser.add_argument("--amounts", type=numbers(float), default=[0.0, 0.5, 1.0])
    parser.add_argument("--realism-weights", help="decoder file (default: the zoo's)")
    parser.add_argument("--plot", type=pathlib.Path)
    parser.add_argument("--sheet", type=pathlib.Path)
    parser.add_argument("--shown", type=int, help="quality of the sheet (default: the first)")
    options = parser.parse_args()
    shown_at = options.qualities[0] if options.shown is None else options.shown
    if shown_at not in options.qualities:
        parser.error(f"--shown is one of the qualities; got {shown_at}.")
    if not all(0.0 <= amount <= 1.0 for amount in options.amounts):
        parser.error(f"--amounts are 0 to 1; got {options.amounts}.")
    if not pathlib.Path(options.pictures).is_dir():
        parser.error(f"there is no folder {options.pictures}.")
    found, shown = measure(
        options.pictures, options.qualities, options.amounts, options.realism_weights
    )
    print("\n".join(table(found)))
    if options.plot:
        plot(found, options.plot)
    if options.sheet:
        ends = [f"Realism {a:g}" for a in (options.amounts[0], options.amounts[-1])]
        contact(shown[shown_at][:4], ["Original", "AVIF", *ends], options.sheet)


if __name__ == "__main__":
    main()
