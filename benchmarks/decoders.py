"""Compares decoders of the same files: quality, time and multiplications, beside other models.

    python -m benchmarks.decoders --pictures FOLDER --output docs \
        --decoders half=HALF.npz,quarter=QUARTER.npz --models gained-shallow

Every picture is coded once for each quality with the default model, and decoded with its own
decoder, its fast decoder, and those of the given files. Further models of the zoo have their own
files. Writes decoders.csv with means over the pictures, and decoders.webp: BD-rates over the
multiplications of decoding, beside published models.

BD-rates of this project are against HEIC 4:4:4 (x265) on the pictures; those of published models
are against BPG 4:4:4, also HEVC, on Kodak. Times are medians of warm calls for a crop of the
pictures of 768×512, in alternation in one process.
"""

from __future__ import annotations

import argparse
import csv
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

import tfc_models
from benchmarks.complexity import PLAIN, multiplications
from tfc_models import decoders, evaluation, models
from tfc_models.analysis import NoOverlapError, bd_rate
from tfc_models.analysis.curves import METRICS, Point, published
from tfc_models.analysis.plots import INK, SETTINGS
from tfc_models.codec import Codec
from tfc_models.training import data
from tfc_models.training.source_plots import save_webp

TICKS = (10, 20, 50, 100, 200, 500, 1000)
ABOVE, BELOW = (5, 4), (5, -11)  # offsets of labels in points
LABELS_BELOW = ("fast", "cheng2020-anchor-compressai")
QUALITIES = (0, 15, 30, 50, 75, 100)
ROUNDS = 15
LATENTS = 256  # pixels per latent
ANCHOR_POINTS = 11
ANCHOR, PUBLISHED_ANCHOR = "heic-444", "bpg444"
# Architectures of published curves, with the sizes that those papers use, mostly at high rates.
PUBLISHED = {
    "bls2017": ("bls2017", {}),
    "bmshj2018": ("bmshj2018-hyperprior", {"channels": 192, "latents": 320}),
    "mbt2018-mean": ("mbt2018-mean", {"channels": 192, "latents": 320}),
    "mbt2018": ("mbt2018", {"channels": 192, "latents": 320}),
    "ms2020": ("ms2020", {"channels": 192, "latents": 320}),
    "cheng2020-anchor-compressai": ("cheng2020-anchor", {}),
    "cheng2020-attn-compressai": ("cheng2020-attn", {}),
    "elic2022": ("elic2022", {}),
}
# Thousand multiplications per pixel, halved from results/flops_per_pixel.csv of its repository.
SHALLOW = {"shallow-ntc-2-layer": 21.0, "shallow-ntc-2-layer-sga": 21.0}


class Decoder(NamedTuple):
    """Way to decode the files of a codec.

    Attributes:
        name: name in tables.
        codec: compresses the files.
        decode: decodes a file.
        thousands: thousand multiplications per pixel of synthesis and entropy model, hyper-analysis
            included.
    """

    name: str
    codec: Codec
    decode: Callable[[bytes], np.ndarray]
    thousands: float


def thousands_of(name: str, sizes: dict[str, int]) -> tuple[float, float]:
    """Returns thousand multiplications per pixel of synthesis and entropy model."""
    _, synthesis, entropy = multiplications(models.build(name, **PLAIN, **sizes))
    return synthesis / 1e3, entropy / 1e3


def known_decoders(files: dict[str, str], others: list[str]) -> list[Decoder]:
    """Returns decoders of the default model, and of other models of the zoo.

    Args:
        files: weights files of further decoders of the default model, by name.
        others: names of models.
    """
    codec = tfc_models.load()
    sizes = {k: codec.model.config[k] for k in ("channels", "latents", "blocks")}
    synthesis, entropy = thousands_of(codec.model.name, sizes)
    result = [Decoder("full", codec, codec.decompress, synthesis + entropy)]

    def replaced(name: str, other: Codec) -> Decoder:
        counted = decoders.multiplications(
            codec.model.synthesis, other.fast_decoder().widths, codec.model.latent_channels
        )
        thousands = sum(counted.values()) / LATENTS / 1e3 + entropy
        return Decoder(name, codec, lambda file: other.decompress(file, decoder="fast"), thousands)

    if codec.has_fast:
        result.append(replaced("fast", codec))
    for name, path in files.items():
        result.append(replaced(name, Codec(codec.model, codec.model_name, fast=path)))
    for name in others:
        other = tfc_models.load(name)
        config = {k: v for k, v in other.model.config.items() if k in ("channels", "latents")}
        config.update({k: v for k, v in other.model.config.items() if k == "blocks"})
        result.append(
            Decoder(name, other, other.decompress, sum(thousands_of(other.model.name, config)))
        )
    return result


def curves(
    known: list[Decoder], pictures: list[np.ndarray], qualities: tuple[int, ...]
) -> dict[str, list[Point]]:
    """Returns means over pictures for each decoder and quality; files are coded once."""
    rows: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    for quality in qualities:
        for picture in pictures:
            files: dict[Codec, bytes] = {}
            for decoder in known:
                if decoder.codec not in files:
                    files[decoder.codec] = decoder.codec.compress(picture, quality)
                file = files[decoder.codec]
                coded = evaluation.Coded(file, decoder.decode(file), 0.0, 0.0)
                figures = evaluation.measure(picture, coded)
                row = figures.bpp, figures.psnr, figures.ms_ssim
                rows.setdefault((decoder.name, quality), []).append(row)
        print(f"quality {quality}", flush=True)
    result: dict[str, list[Point]] = {}
    for (name, _), values in rows.items():
        result.setdefault(name, []).append(Point(*np.mean(values, axis=0).tolist()))
    return result


def anchor(pictures: list[np.ndarray]) -> list[Point]:
    """Returns means over pictures of HEIC 4:4:4 at several qualities."""
    peer = evaluation.PEERS[ANCHOR]
    points = []
    for setting in peer.curve_settings(ANCHOR_POINTS):
        rows = []
        for picture in pictures:
            file = peer.encode(picture, setting)
            coded = evaluation.Coded(file, peer.decode(file), 0.0, 0.0)
            figures = evaluation.measure(picture, coded)
            rows.append((figures.bpp, figures.psnr, figures.ms_ssim))
        points.append(Point(*np.mean(rows, axis=0).tolist()))
    return points


def seconds(known: list[Decoder], picture: np.ndarray) -> dict[str, float]:
    """Returns the median time of each decoder for one picture, in alternation."""
    files = {decoder.name: decoder.codec.compress(picture, 30) for decoder in known}
    times: dict[str, list[float]] = {decoder.name: [] for decoder in known}
    for decoder in known:
        decoder.decode(files[decoder.name])
    for _ in range(ROUNDS):
        for decoder in known:
            start = time.perf_counter()
            decoder.decode(files[decoder.name])
            times[decoder.name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def difference(reference: list[Point], points: list[Point], metric: int) -> str:
    """Returns the range of the difference in a metric over the qualities, as text."""
    pairs = zip(reference, points)
    values = [float(b[metric]) - float(a[metric]) for a, b in pairs]
    digits = 2 if metric == 1 else 4
    return f"{max(values):+.{digits}f} to {min(values):+.{digits}f}"


def rate(reference: list[Point], points: list[Point], metric: int) -> float:
    """Returns the BD-rate in PSNR or MS-SSIM."""
    chosen = METRICS[metric]
    pairs = (
        [(p.bpp, chosen.of(p)) for p in curve if chosen.of(p) is not None]
        for curve in (reference, points)
    )
    return bd_rate(*pairs)


def figure(ours: dict[str, tuple[float, float]]) -> Figure:
    """Returns the plot of BD-rates over multiplications; `ours` has both by name."""
    base = list(published()[PUBLISHED_ANCHOR].points)
    others = {}
    for name, (model, sizes) in PUBLISHED.items():
        others[name] = sum(thousands_of(model, sizes))
    others.update(SHALLOW)
    with rc_context(SETTINGS):
        result = Figure(figsize=(7.2, 5.0))
        axes = result.add_axes((0.1, 0.12, 0.87, 0.85))
        groups = [("#0072b2", "o", ours)]
        theirs = {}
        for name, thousands in others.items():
            try:
                theirs[name] = thousands, rate(base, list(published()[name].points), 0)
            except NoOverlapError:
                continue
        groups.append(("#707070", "s", theirs))
        labels = (
            "this project, 8 photos, against HEIC 4:4:4",
            "published, Kodak, against BPG 4:4:4",
        )
        for (color, marker, points), label in zip(groups, labels):
            axes.scatter(*zip(*points.values()), c=color, marker=marker, label=label, zorder=3)
            for name, place in points.items():
                axes.annotate(
                    name.replace("-compressai", ""),
                    place,
                    BELOW if name in LABELS_BELOW else ABOVE,
                    textcoords="offset points",
                    color=color,
                    fontsize=8,
                )
        axes.set_xscale("log")
        axes.set_xlim(8.0, 1400.0)
        axes.set_xticks(TICKS, [str(tick) for tick in TICKS])
        axes.minorticks_off()
        axes.set_xlabel("thousand multiplications per pixel in decoding")
        axes.set_ylabel("BD-rate in PSNR, % (lower is better)")
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.tick_params(colors=INK)
        axes.legend(loc="upper right", fontsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--decoders", default="", help="NAME=FILE,… of further decoders")
    parser.add_argument("--models", default="", help="further models of the zoo")
    options = parser.parse_args()
    files = dict(item.split("=", 1) for item in options.decoders.split(",") if item)
    others = [name for name in options.models.split(",") if name]
    known = known_decoders(files, others)
    pictures = [pixels for _, pixels in data.named_images(options.pictures)]
    wide = np.concatenate([pictures[0], pictures[-1]], 1)[:512, :768]
    times = seconds(known, wide)
    measured = curves(known, pictures, QUALITIES)
    reference = anchor(pictures)
    ours = {}
    with (options.output / "decoders.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["decoder", "quality", "bpp", "psnr", "ms_ssim"])
        for name, points in measured.items():
            for quality, point in zip(QUALITIES, points):
                table.writerow([name, quality, *(round(float(v), 5) for v in point[:3])])
    print(
        "| decoder | 1000 multiplications per pixel | time | PSNR, dB | MS-SSIM | BD-rate over the"
    )
    print("full decoder, PSNR, MS-SSIM | BD-rate over HEIC 4:4:4, PSNR |")
    for decoder in known:
        points, full = measured[decoder.name], measured["full"]
        same_files = decoder.codec is known[0].codec
        changes = [difference(full, points, m) if same_files else "" for m in (1, 2)]
        rates = [f"{rate(full, points, m):+.1f} %" for m in (0, 1)]
        ours[decoder.name] = decoder.thousands, rate(reference, points, 0)
        cells = [decoder.name, f"{decoder.thousands:.1f}"]
        cells += [f"{times[decoder.name] / times['full']:.2f}", *changes, *rates]
        print("| " + " | ".join([*cells, f"{ours[decoder.name][1]:+.1f} %"]) + " |", flush=True)
    print(f"full decoder: {1e3 * times['full']:.0f} ms for 768×512")
    save_webp(figure(ours), options.output / "decoders.webp")


if __name__ == "__main__":
    main()
