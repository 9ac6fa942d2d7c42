"""Differences between decoded pixels of one file under several settings of a machine.

    python -m benchmarks.pixels --pictures FOLDER

Files are coded once with the zoo's default model, at three qualities, and decoded at realism 0 and
1 in a process for each setting. The reference is float32 without changes. Printed are the parts of
all pixel values that differ from it, those that differ by more than one level, and the largest
difference. Latents are compared as well: a file whose latents differ is reported as an error.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import tfc_models
from tfc_models import images

QUALITIES = (20, 50, 80)
REALISMS = (0.0, 1.0)
REFERENCE = "float32"
# Environment variables, and whether convolutions use bfloat16.
SETTINGS = {
    REFERENCE: ({}, "off"),
    "bfloat16": ({}, "on"),
    "float32, oneDNN off": ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "off"),
    "float32, SSE4.1": ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, "off"),
    "float32, one thread": ({"TF_NUM_INTRAOP_THREADS": "1"}, "off"),
}


def decode(folder: pathlib.Path, bfloat16: str) -> None:
    """Decodes every file of a folder; writes latents and the pixels at each realism as one npz."""
    codec = tfc_models.load("default")
    codec.model.set_bfloat16(bfloat16)
    found = {}
    for path in sorted(folder.glob("*.tfcm")):
        data = path.read_bytes()
        found[f"{path.stem}/latents"] = codec.latents(data)
        for realism in REALISMS:
            found[f"{path.stem}/{realism:g}"] = codec.decompress(data, realism=realism)
    np.savez(folder / "decoded.npz", **found)


def decoded_under(folder: pathlib.Path, setting: str) -> dict[str, np.ndarray] | None:
    """Returns the results of `decode` in a process with a setting; None if it cannot run."""
    environment, bfloat16 = SETTINGS[setting]
    command = [sys.executable, "-m", "benchmarks.pixels", "--decode", str(folder), bfloat16]
    run = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if run.returncode:
        if bfloat16 == "on":
            return None
        raise SystemExit(f"error: {setting}: {run.stderr.strip().splitlines()[-1]}")
    with np.load(folder / "decoded.npz") as arrays:
        return dict(arrays)


def row(setting: str, realism: float, found: dict, expected: dict) -> str:
    """Returns a line of the table."""
    keys = [key for key in expected if key.endswith(f"/{realism:g}")]
    off = np.concatenate([np.abs(found[k].astype(int) - expected[k]).ravel() for k in keys])
    parts = f"{100 * np.mean(off > 0):.3f} % | {100 * np.mean(off > 1):.4f} %"
    return f"| {setting} | {realism:g} | {parts} | {off.max()} |"


def main() -> None:
    """Compresses the images and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=pathlib.Path, help="folder of images to code")
    parser.add_argument("--decode", nargs=2, metavar=("FOLDER", "BFLOAT16"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.decode:
        decode(pathlib.Path(options.decode[0]), options.decode[1])
        return
    if not options.pictures or not options.pictures.is_dir():
        parser.error("--pictures is a folder of images.")
    codec = tfc_models.load("default")
    paths = [p for p in sorted(options.pictures.iterdir()) if images.has_image_suffix(p.name)]
    if not paths:
        parser.error(f"{options.pictures} has no images.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for path in paths:
            pixels = images.read(path, background=(255, 255, 255)).pixels
            for quality in QUALITIES:
                data = codec.compress(pixels, quality)
                (folder / f"{path.stem}-{quality}.tfcm").write_bytes(data)
        reports = {setting: decoded_under(folder, setting) for setting in SETTINGS}
    expected = reports.pop(REFERENCE)
    print(f"{codec.model_name} {codec.digest}, {len(paths)} images, qualities {QUALITIES}")
    print("| setting | realism | differ | by more than 1 | largest |\n|---|---|---|---|---|")
    for setting, found in reports.items():
        if found is None:
            print(f"| {setting} | not available on this processor | | | |")
            continue
        for key in (k for k in expected if k.endswith("/latents")):
            if not np.array_equal(found[key], expected[key]):
                raise SystemExit(f"error: {setting}: other latents in {key}.")
        for realism in REALISMS:
            print(row(setting, realism, found, expected))


if __name__ == "__main__":
    main()
