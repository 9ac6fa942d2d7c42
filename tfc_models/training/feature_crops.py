"""Small crops of photos, for retrieving the crops of the same photo."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from tfc_models import images, remote
from tfc_models.training.mnist import LabelledImages, Splits

SIDE = 48
"""Height and width of a crop."""
SHORT_SIDE = 3 * SIDE
"""Short side to which photos are scaled down."""
PER_TRAINING_IMAGE = 32
"""Random crops of each photo for training."""
PER_TEST_IMAGE = 9
"""Crops of each other photo, which do not overlap."""
SEED = 0
VALIDATION_FRACTION, TEST_FRACTION = 0.12, 0.3


def load(folders: Sequence[str]) -> Splits:
    """Returns crops in 0 to 1, whose class is the photo, in three parts.

    The parts have no photo in common. Crops are stored in the cache folder, as decoding photos
    takes minutes.
    """
    paths = sorted(
        path
        for folder in folders
        for path in pathlib.Path(folder).rglob("*")
        if path.is_file() and images.has_image_suffix(path)
    )
    if len(paths) < 20:
        raise ValueError(
            f"{', '.join(folders)} has {len(paths)} images: name folders with at least 20 photos."
        )
    key = hashlib.sha256()
    for path in paths:
        key.update(f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    key.update(f"{SIDE} {SHORT_SIDE} {PER_TRAINING_IMAGE} {PER_TEST_IMAGE} {SEED}".encode())
    cache = remote.cache_folder() / "crops" / f"{key.hexdigest()[:20]}.npz"
    if not cache.exists():
        _write(cache, _cropped(paths))
    with np.load(cache) as file:
        parts = {name: file[name] for name in file.files}

    def labelled(name: str) -> LabelledImages:
        return LabelledImages(
            parts[f"{name}_images"].astype(np.float32) / 255.0, parts[f"{name}_labels"]
        )

    names = ("training", "validation", "test")
    counts = [len(np.unique(parts[f"{name}_labels"])) for name in names]
    description = f"{sum(counts)} photos: " + " / ".join(map(str, counts))
    training, validation, test = (labelled(name) for name in names)
    return Splits(training, validation, test, f"{description}, crops of {SIDE} × {SIDE}")


def _write(path: pathlib.Path, parts: dict[str, Any]) -> None:
    """Writes arrays atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    with partial.open("wb") as file:
        np.savez(file, **parts)
    os.replace(partial, path)


def _cropped(paths: Sequence[pathlib.Path]) -> dict[str, np.ndarray]:
    """Returns the crops of all photos, and their classes, by part."""
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(paths))
    ends = np.rint(len(paths) * np.array([TEST_FRACTION, TEST_FRACTION + VALIDATION_FRACTION]))
    groups = np.split(order, ends.astype(int))
    parts = {}
    for name, group in zip(("test", "validation", "training"), groups):
        crops, labels = [], []
        for label, index in enumerate(group):
            pixels = _scaled(paths[index])
            random = _random_crops(pixels, rng)
            crops.append(random if name == "training" else _separate_crops(pixels, rng))
            labels.append(np.full(len(crops[-1]), label, np.int32))
        parts[f"{name}_images"] = np.concatenate(crops)
        parts[f"{name}_labels"] = np.concatenate(labels)
    return parts


def _scaled(path: pathlib.Path) -> np.ndarray:
    """Returns a photo with the given short side, sRGB, uint8."""
    try:
        pixels = images.read(path, background=(255, 255, 255)).pixels
    except images.ImageError as error:
        raise images.ImageError(f"{path}: {error}") from None
    height, width = pixels.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    size = max(round(width * scale), SHORT_SIDE), max(round(height * scale), SHORT_SIDE)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _random_crops(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    tops = rng.integers(0, pixels.shape[0] - SIDE + 1, PER_TRAINING_IMAGE)
    lefts = rng.integers(0, pixels.shape[1] - SIDE + 1, PER_TRAINING_IMAGE)
    return np.stack([pixels[t : t + SIDE, x : x + SIDE] for t, x in zip(tops, lefts)])


def _separate_crops(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns crops that do not overlap."""
    rows, columns = pixels.shape[0] // SIDE, pixels.shape[1] // SIDE
    cells = rng.permutation(rows * columns)[:PER_TEST_IMAGE]
    return np.stack(
        [
            pixels[r * SIDE : (r + 1) * SIDE, c * SIDE : (c + 1) * SIDE]
            for r, c in zip(cells // columns, cells % columns)
        ]
    )
