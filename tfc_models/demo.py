"""Demonstration: `python -m tfc_models.demo` compresses a few photos with the default model.

It compresses the photos in scikit-image's wheel, decompresses them in a second process by the
command line, and prints a table beside JPEG, WebP and AVIF of the nearest size. The folder of
`--output` then holds the compressed files, the decompressed images, `results.json` and
`comparison.png`.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tfc_models import evaluation, images, samples
from tfc_models.cli.errors import CommandError, one_line
from tfc_models.cli.loading import check_model, load_model
from tfc_models.cli.writing import make_folder, write_file
from tfc_models.codec.container import SUFFIX
from tfc_models.evaluation import Coded, sheet

OURS = "tfc-models"
PEERS = tuple(evaluation.PEERS[name] for name in ("jpeg", "webp", "avif"))


class Result(NamedTuple):
    """One image coded by one codec."""

    picture: str
    codec: str
    setting: str
    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float
    encode_seconds: float
    decode_seconds: float


class Crop(NamedTuple):
    """Part of a photo that the comparison shows."""

    picture: str
    box: sheet.Box


# Skin, hair and fine straight lines are hard for codecs, and errors in them are visible.
SIDE = 192
SHOWN = (
    Crop("astronaut", sheet.Box(128, 16, SIDE, SIDE)),
    Crop("motorcycle_left", sheet.Box(250, 150, SIDE, SIDE)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demonstration. Returns an exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tfc_models.demo",
        description="Compresses scikit-image's photos, beside JPEG, WebP and AVIF.",
    )
    parser.add_argument("--output", default="demo_out", help="folder to write to")
    parser.add_argument("-m", "--model", default="default", help="of the zoo, or a weights file")
    options = parser.parse_args(arguments)
    try:
        _run(pathlib.Path(options.output), options.model)
    except (CommandError, OSError, ValueError) as error:
        print(f"demo: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _run(folder: pathlib.Path, model: str) -> None:
    photos = {path.stem: images.read(path).pixels for path in photo_files()}
    check_model(model)
    make_folder(folder)
    codec = load_model(model)
    compressed, encode_seconds = _compress(codec, photos, folder)
    decoded, decode_seconds = decompress_elsewhere(list(compressed), folder, model)

    results: list[Result] = []
    pixels_of: dict[tuple[str, str], np.ndarray] = {}

    def add(name: str, title: str, setting: str, coded: Coded) -> None:
        figures = evaluation.measure(photos[name], coded)
        results.append(
            Result(
                picture=name,
                codec=title,
                setting=setting,
                bytes=figures.bytes,
                bpp=figures.bpp,
                psnr=figures.psnr,
                ms_ssim=math.nan if figures.ms_ssim is None else figures.ms_ssim,
                encode_seconds=figures.encode_seconds,
                decode_seconds=figures.decode_seconds,
            )
        )
        pixels_of[name, title] = coded.pixels

    for name, photo in photos.items():
        seconds = encode_seconds[name], decode_seconds[name]
        reference = Coded(compressed[name], decoded[name], *seconds)
        add(name, OURS, codec.model_name, reference)
        for peer in PEERS:
            quality = peer.at_size(photo, len(reference.data))
            coded = evaluation.code(photo, partial(peer.encode, setting=quality), peer.decode)
            add(name, peer.title, peer.label(quality), coded)
    document = [result._asdict() for result in results]
    write_file(folder / "results.json", json.dumps(document, indent=2).encode(), force=True)
    comparison = compare(photos, pixels_of, results)
    write_file(folder / "comparison.png", images.encode(comparison, ".png"), force=True)
    _print_table(results, {name: photo.shape for name, photo in photos.items()})
    print(f"The files, results.json and comparison.png are in {folder}.")


def photo_files() -> list[pathlib.Path]:
    """Returns the paths of the photos in the installed scikit-image."""
    files = list(samples.files().values())
    if not files:
        raise CommandError("the photos of the demo are scikit-image's: pip install scikit-image.")
    return files


def _compress(
    codec: Any, photos: dict[str, np.ndarray], folder: pathlib.Path
) -> tuple[dict[str, bytes], dict[str, float]]:
    data, seconds = {}, {}
    for name, photo in photos.items():
        codec.compress(photo)  # The first call builds the graph.
        data[name], seconds[name] = evaluation.timed(partial(codec.compress, photo))
        write_file(folder / f"{name}{SUFFIX}", data[name], force=True)
    return data, seconds


def decompress_elsewhere(
    names: list[str], folder: pathlib.Path, model: str = "default"
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Decompresses the files of a folder in another process; returns images and seconds.

    Each file is decompressed twice, first as a copy, so that the seconds are those of a warm
    process.
    """
    with tempfile.TemporaryDirectory(prefix="tfc-models-demo-") as temporary:
        first, again = pathlib.Path(temporary, "first"), pathlib.Path(temporary, "again")
        for copy in (first, again):
            copy.mkdir()
            for name in names:
                shutil.copy(folder / f"{name}{SUFFIX}", copy)
        command = [sys.executable, "-m", "tfc_models.cli", "decompress", "--json", "--quiet"]
        command += [] if model == "default" else ["--model", model]
        done = subprocess.run([*command, str(first), str(again)], capture_output=True, text=True)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no error message."]
            raise CommandError(f"the second process could not decompress: {lines[0]}")
        seconds = {pathlib.Path(r["input"]): r["seconds"] for r in json.loads(done.stdout)}
        decoded = {}
        for name in names:
            png = (again / f"{name}.png").read_bytes()
            write_file(folder / f"{name}.png", png, force=True)
            decoded[name] = images.read(png).pixels
        return decoded, {name: seconds[again / f"{name}{SUFFIX}"] for name in names}


def _print_table(results: list[Result], shapes: dict[str, tuple[int, ...]]) -> None:
    import rich.box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        box=rich.box.SIMPLE_HEAD,
        caption="Bytes are whole files; under all, bpp are of all bytes and the rest are means. "
        "PSNR is over R, G and B. Seconds are of warm processes: "
        f"each of ours is the second call, and {OURS} decodes in a process of its own. Peers are "
        "Pillow's, at the quality whose file is nearest to ours in size.",
        caption_justify="left",
    )
    table.add_column("picture")
    table.add_column("codec")
    for heading in ("bytes", "bpp", "PSNR dB", "MS-SSIM", "encode s", "decode s"):
        table.add_column(heading, justify="right")
    for name, (height, width, _) in shapes.items():
        for result in (r for r in results if r.picture == name):
            coded = result.codec == OURS
            table.add_row(
                f"{name} {width}×{height}" if coded else "",
                f"{result.codec} {result.setting}",
                f"{result.bytes:,}",
                *_figures(result),
                style="bold" if coded else "",
            )
        table.add_section()
    for codec in (OURS, *(peer.title for peer in PEERS)):
        rows = [r for r in results if r.codec == codec]
        pixels = sum(height * width for height, width, _ in shapes.values())
        total = sum(r.bytes for r in rows)
        mean = Result("", codec, "", total, 8 * total / pixels, *np.mean([r[5:] for r in rows], 0))
        table.add_row(
            "all" if codec == OURS else "",
            codec,
            f"{total:,}",
            *_figures(mean),
            style="bold" if codec == OURS else "",
        )
    # Wide enough for complete rows if the output is not a terminal.
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table, highlight=False)


def _figures(result: Result) -> tuple[str, ...]:
    return (
        f"{result.bpp:.3f}",
        f"{result.psnr:.2f}",
        f"{result.ms_ssim:.4f}",
        f"{result.encode_seconds:.3f}",
        f"{result.decode_seconds:.3f}",
    )


def compare(
    photos: dict[str, np.ndarray],
    pixels_of: dict[tuple[str, str], np.ndarray],
    results: list[Result],
) -> np.ndarray:
    """Returns a sheet of original, model and JPEG of the same size: one enlarged crop per photo."""
    measured = {(r.picture, r.codec): r for r in results}
    crops = [crop for crop in SHOWN if crop.picture in photos]
    # A set of other photos is shown by the middle of its first one.
    if not crops:
        name, photo = next(iter(photos.items()))
        height, width = photo.shape[:2]
        side = min(SIDE, height, width)
        box = sheet.Box((width - side) // 2, (height - side) // 2, side, side)
        crops = [Crop(name, box)]
    tiles = []
    for crop in crops:
        tiles.append(_tile(photos[crop.picture], crop, "original", f"{crop.picture}, 24 bpp"))
        for key in ((crop.picture, OURS), (crop.picture, "JPEG")):
            result = measured[key]
            title = f"{result.codec} {result.setting}"
            tiles.append(_tile(pixels_of[key], crop, title, _label(result)))
    return sheet.arranged(tiles, columns=3)


def _tile(pixels: np.ndarray, crop: Crop, title: str, subtitle: str) -> np.ndarray:
    return sheet.tile([sheet.enlarged(crop.box.of(pixels))], title, [subtitle], SIDE * sheet.ZOOM)


def _label(result: Result) -> str:
    return f"{result.bytes:,} bytes, {result.bpp:.3f} bpp, {result.psnr:.2f} dB"


if __name__ == "__main__":
    sys.exit(main())
