"""Pairs of frames of a moment: from a table, from folders of frames, or from videos.

What a pair is of: two frames of one scene, so short a time apart that people see the same. Pairs
that hardly differ teach nothing, and those that differ much are of two scenes.
"""

from __future__ import annotations

import csv
import glob
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging
from PIL import Image

from tfc_models import images
from tfc_models.training.crops import TRIES, DataError, Files, order_of
from tfc_models.training.data import examples, pixels_of

TABLE = "pairs.csv"
ORIGIN = "origin.json"  # beside it: of which videos, and within which limits
VIDEO = "video:"
Pairs = list[tuple[pathlib.Path, pathlib.Path]]
COLUMNS = ("name", "scene", "gap_s", "mean_abs_diff")


class Limits(NamedTuple):
    """Which two frames make a pair.

    Attributes:
        gap: seconds between them, from and to; folders of frames count as 24 a second.
        motion: mean absolute difference of their pixels, from and to.
        every: seconds between the pairs of a video.
        side: what a video's short side is scaled down to.
    """

    gap: tuple[float, float]
    motion: tuple[float, float]
    every: float
    side: int


FOLDER_RATE = 24.0


def find_pairs(source: str, folder: pathlib.Path, limits: Limits) -> Pairs:
    """Files of pairs: of a pairs.csv, of a folder, or of `video:GLOB`, taken out to `folder`."""
    if source.startswith(VIDEO):
        videos = videos_of(source)
        origin = json.dumps({"videos": [str(v) for v in videos], **limits._asdict()}, indent=1)
        if not (folder / TABLE).exists():
            extract(videos, folder, limits)
            (folder / ORIGIN).write_text(origin, encoding="utf-8")
        elif not (folder / ORIGIN).exists() or (folder / ORIGIN).read_text("utf-8") != origin:
            raise DataError(f"{folder} has pairs of other videos or limits: remove it.")
        return _of_table(folder / TABLE)
    path = pathlib.Path(source).expanduser()
    if path.is_dir() and (path / TABLE).exists():
        path = path / TABLE
    if path.is_file() and path.suffix == ".csv":
        return _of_table(path)
    if path.is_dir():
        return _of_folders(path, limits)
    raise DataError(f"no pairs in {source}: give a pairs.csv, a folder of frames, or video:GLOB.")


def videos_of(source: str) -> list[pathlib.Path]:
    """Files of `video:GLOB`; of other sources none."""
    if not source.startswith(VIDEO):
        return []
    pattern = source[len(VIDEO) :]
    found = sorted(p for p in map(pathlib.Path, glob.glob(pattern, recursive=True)) if p.is_file())
    if not found:
        raise DataError(f"no videos match {pattern}.")
    return [path.resolve() for path in found]


def _of_table(path: pathlib.Path) -> Pairs:
    """NAME_a and NAME_b of every name, beside the table or in the folder pairs/ beside it."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or "name" not in rows[0]:
        raise DataError(f"{path} has no pairs: it needs a column `name`.")
    pairs, missing = [], []
    for row in rows:
        found = [_frame(path.parent, f"{row['name']}_{letter}") for letter in "ab"]
        if None in found:
            missing.append(row["name"])
        else:
            pairs.append((found[0], found[1]))
    if missing:
        logging.warning("not used: %d pairs without files, %s for one", len(missing), missing[0])
    if not pairs:
        raise DataError(f"{path}: there are no files {rows[0]['name']}_a and _b beside it.")
    return pairs


def _frame(folder: pathlib.Path, stem: str) -> pathlib.Path | None:
    for parent in (folder, folder / "pairs"):
        for suffix in sorted(images.INPUT_SUFFIXES):
            if (parent / f"{stem}{suffix}").is_file():
                return parent / f"{stem}{suffix}"
    return None


def _of_folders(folder: pathlib.Path, limits: Limits) -> Pairs:
    """Every frame with a later one of its folder; frames go by their names' order."""
    least, most = (max(1, round(gap * FOLDER_RATE)) for gap in limits.gap)
    scenes: dict[pathlib.Path, list[pathlib.Path]] = {}
    for path in sorted(folder.rglob("*"), key=_by_number):
        if path.suffix.lower() in images.INPUT_SUFFIXES:
            scenes.setdefault(path.parent, []).append(path)
    pairs, draw = [], np.random.default_rng(0)
    for frames in scenes.values():
        for i in range(0, len(frames) - least, least):
            gap = int(draw.integers(least, most + 1))
            pairs.append((frames[i], frames[min(i + gap, len(frames) - 1)]))
    if not pairs:
        raise DataError(f"no frames in {folder}: it needs folders of two pictures or more.")
    kept = [pair for pair in pairs if _files_move(*pair, limits)]
    logging.info("%d of %d pairs of frames move, and not too much", len(kept), len(pairs))
    if not kept:
        raise DataError(f"no pair of frames in {folder} differs by {limits.motion} grey levels.")
    return kept


def _by_number(path: pathlib.Path) -> list[tuple[int, str]]:
    """2.png comes before 10.png."""
    return [(int(part or 0), text) for text, part in re.findall(r"([^0-9]*)([0-9]*)", str(path))]


def _files_move(first: pathlib.Path, second: pathlib.Path, limits: Limits) -> bool:
    frames = []
    for path in (first, second):
        try:
            frames.append(pixels_of(path))
        except (OSError, ValueError) as error:
            logging.warning("not used: %s: %s", path, error)
            return False
    return _moves(*frames, limits)


def _moves(a: np.ndarray, b: np.ndarray, limits: Limits) -> bool:
    if a.shape != b.shape:
        return False
    least, most = limits.motion
    return least <= difference(a, b) <= most


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of two frames' pixels."""
    return float(np.mean(np.abs(a.astype(np.float32) - b)))


def extract(paths: list[pathlib.Path], folder: pathlib.Path, limits: Limits) -> None:
    """Takes pairs out of videos, as JPEG, with a table; the table comes last, when all is there."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise DataError("videos need PyAV: pip install av.") from None
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, path in enumerate(paths):
        before = len(rows)
        try:
            for name, gap, a, b in _pairs_of_video(path, number, limits):
                for letter, frame in zip("ab", (a, b)):
                    Image.fromarray(frame).save(
                        folder / f"{name}_{letter}.jpg", quality=95, subsampling=0
                    )
                rows.append((name, path.name, round(gap, 4), round(difference(a, b), 2)))
        except DataError as error:
            logging.warning("not used: %s", error)
        logging.info("%s: %d pairs", path.name, len(rows) - before)
    if not rows:
        raise DataError("no video has pairs within the limits of gap and motion.")
    partial = folder / f".{TABLE}.part"
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    os.replace(partial, folder / TABLE)


def _pairs_of_video(
    path: pathlib.Path, number: int, limits: Limits
) -> Iterator[tuple[str, float, np.ndarray, np.ndarray]]:
    """Name, gap and the two frames; a first frame every so often, and the next one that fits."""
    import av

    draw = np.random.default_rng([2020, number])
    first: tuple[float, np.ndarray] | None = None
    wanted, gap, count = 0.0, 0.0, 0
    try:
        with av.open(str(path)) as video:
            for frame in video.decode(video=0):
                if frame.time is None:
                    continue
                if first is None and frame.time >= wanted:
                    first = frame.time, _scaled(frame, limits.side)
                    gap = draw.uniform(*limits.gap)
                elif first is not None and frame.time - first[0] >= gap:
                    seconds, second = frame.time - first[0], _scaled(frame, limits.side)
                    if seconds <= limits.gap[1] + 0.02 and _moves(first[1], second, limits):
                        yield f"{path.stem}_{number:04d}_{count:05d}", seconds, first[1], second
                        count += 1
                    wanted, first = first[0] + limits.every, None
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise DataError(f"{path}: {error}") from None


def _scaled(frame: object, side: int) -> np.ndarray:
    picture = frame.to_image()
    scale = side / min(picture.size)
    if scale < 1.0:
        sides = [max(1, round(s * scale)) for s in picture.size]
        picture = picture.resize(sides, Image.Resampling.LANCZOS)
    return np.asarray(picture.convert("RGB"))


def of_size(pairs: Pairs, side: int) -> Pairs:
    """Those whose frames are of one size, from `side` pixels on."""
    kept = []
    for pair in pairs:
        try:
            sizes = set()
            for path in pair:
                with Image.open(path) as image:
                    sizes.add(image.size)
        except (OSError, ValueError) as error:
            logging.warning("not used: %s: %s", path, error)
            continue
        if len(sizes) == 1 and min(*sizes.pop()) >= side:
            kept.append(pair)
    if len(kept) < len(pairs):
        logging.warning(
            "not used: %d of %d pairs, of other sizes", len(pairs) - len(kept), len(pairs)
        )
    if not kept:
        raise DataError(f"no pair of frames of one size with {side} pixels or more on both sides.")
    return kept


def crops_of_pairs(pairs: Pairs, side: int, seed: int, first: int = 0) -> tf.data.Dataset:
    """uint8 crops [2, side, side, 3] without end; each is decided by the seed and its number.

    Both frames are cropped at one place, and mirrored and exchanged at random. Every pair comes
    once an epoch, so that hardly any batch has one twice.
    """
    files = Files([path for pair in pairs for path in pair], side, pixels_of)

    def load(number: np.ndarray) -> np.ndarray:
        draw = np.random.default_rng([seed, 3, int(number)])
        epoch, i = divmod(int(number), len(pairs))
        i = int(order_of(len(pairs), seed, epoch)[i])
        for _ in range(TRIES):
            frames = [files.picture(2 * i), files.picture(2 * i + 1)]
            if (
                frames[0] is not None
                and frames[1] is not None
                and frames[0].shape == frames[1].shape
            ):
                break
            i = int(draw.integers(len(pairs)))
        else:
            raise DataError("hardly any pair of frames can be read.")
        top, left = (int(draw.integers(s - side + 1)) for s in frames[0].shape[:2])
        both = np.stack([f[top : top + side, left : left + side] for f in frames])
        both = both[:: draw.choice([-1, 1])]
        return np.ascontiguousarray(both[:, :, :: draw.choice([-1, 1])])

    return examples(load, [2, side, side, 3], first)
