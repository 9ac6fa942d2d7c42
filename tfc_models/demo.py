"""Demonstration: `python -m tfc_models.demo` compresses sample images with the default model.

It compresses the images in scikit-image's wheel, decompresses them in a second process, and prints
a table that compares them with JPEG, WebP and AVIF at the nearest size. It writes the compressed
files, the decompressed images, `results.json` and `comparison.png` to the folder of `--output`.
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
from tfc_models.cli.output_files import make_folder, write_file
from tfc_models.codec.container import SUFFIX
from tfc_models.evaluation import Coded, sheet

MODEL = "tfc-models"
PEERS = tuple(evaluation.PEERS[name] for name in ("jpeg", "webp", "avif"))


class Result(NamedTuple):
    """Result of one codec on one image. Its fields are the keys in results.json."""

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
    """Crop of an image that the comparison shows."""

    picture: str
    box: sheet.Box


# Skin, hair and fine straight lines are difficult to compress, and errors in them are visible.
SIDE = 192
CROPS = (
    Crop("astronaut", sheet.Box(128, 16, SIDE, SIDE)),
    Crop("motorcycle_left", sheet.Box(250, 150, SIDE, SIDE)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demonstration. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tfc_models.demo",
        description="Compresses sample images and compares them with JPEG, WebP and AVIF.",
    )
    parser.add_argument("--output", default="demo_out", help="output folder")
    parser.add_argument("-m", "--model", default="default", help="model name or weights file")
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
    decoded, decode_seconds = decompress_in_subprocess(list(compressed), folder, model)

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
        add(name, MODEL, codec.model_name, reference)
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
    """Returns the paths of the sample images in the installed scikit-image."""
    files = list(samples.files().values())
    if not files:
        raise CommandError("the demo needs scikit-image's images: pip install scikit-image.")
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


def decompress_in_subprocess(
    names: list[str], folder: pathlib.Path, model: str = "default"
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Decompresses the files of a folder in another process. Returns images and seconds.

    Each file is decompressed twice. The seconds are those of the second time, without start-up.
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
            raise CommandError(f"the second process failed to decompress: {lines[0]}")
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
        caption="Bytes include headers. In the rows of all images, bpp is total bytes over total "
        "pixels, and other columns are means. PSNR is over R, G and B. Seconds exclude start-up: "
        f"those of {MODEL} are of a second call, and it decodes in a separate process. Other "
        "codecs are Pillow's, at the quality with the nearest file size.",
        caption_justify="left",
    )
    table.add_column("image")
    table.add_column("codec")
    for heading in ("bytes", "bpp", "PSNR dB", "MS-SSIM", "encode s", "decode s"):
        table.add_column(heading, justify="right")
    for name, (height, width, _) in shapes.items():
        for result in (r for r in results if r.picture == name):
            is_model = result.codec == MODEL
            table.add_row(
                f"{name} {width}×{height}" if is_model else "",
                f"{result.codec} {result.setting}",
                f"{result.bytes:,}",
                *_figures(result),
                style="bold" if is_model else "",
            )
        table.add_section()
    for codec in (MODEL, *(peer.title for peer in PEERS)):
        rows = [r for r in results if r.codec == codec]
        pixels = sum(height * width for height, width, _ in shapes.values())
        total = sum(r.bytes for r in rows)
        mean = Result("", codec, "", total, 8 * total / pixels, *np.mean([r[5:] for r in rows], 0))
        table.add_row(
            "all" if codec == MODEL else "",
            codec,
            f"{total:,}",
            *_figures(mean),
            style="bold" if codec == MODEL else "",
        )
    # Programs that read a pipe need unwrapped rows.
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
    """Returns a sheet of enlarged crops: original, model, and JPEG of the same size."""
    measured = {(r.picture, r.codec): r for r in results}
    crops = [crop for crop in CROPS if crop.picture in photos]
    # Other images are represented by the center of the first one.
    if not crops:
        name, photo = next(iter(photos.items()))
        height, width = photo.shape[:2]
        side = min(SIDE, height, width)
        box = sheet.Box((width - side) // 2, (height - side) // 2, side, side)
        crops = [Crop(name, box)]
    tiles = []
    for crop in crops:
        tiles.append(_tile(photos[crop.picture], crop, "original", f"{crop.picture}, 24 bpp"))
        for key in ((crop.picture, MODEL), (crop.picture, "JPEG")):
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
