"""Pairs of frames from a table, from folders of frames, or from videos.

A pair is two frames of one scene, so close in time that they look alike. Pairs that hardly differ
are useless for training, and pairs that differ much are of different scenes, so both are left out.
"""

from __future__ import annotations

import csv
import glob
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging
from PIL import Image

from tfc_models import images
from tfc_models.training.crops import MAX_TRIES, DataError, Files, epoch_order
from tfc_models.training.data import examples, pixels_of

TABLE = "pairs.csv"
ORIGIN = "origin.json"  # next to the table: the videos and limits that the pairs are from
VIDEO = "video:"
Pairs = list[tuple[pathlib.Path, pathlib.Path]]
COLUMNS = ("name", "scene", "gap_s", "mean_abs_diff")


class Limits(NamedTuple):
    """Criteria for selecting pairs of frames.

    Attributes:
        gap: minimum and maximum seconds between the frames; folders have 24 frames per second.
        motion: minimum and maximum mean absolute difference of the frames' pixels.
        every: seconds between the pairs of a video.
        side: short side to which videos are scaled down.
    """

    gap: tuple[float, float]
    motion: tuple[float, float]
    every: float
    side: int


FOLDER_FPS = 24.0
GAP_TOLERANCE = 0.02  # seconds by which a pair of a video may exceed the maximum gap


def find_pairs(source: str, folder: pathlib.Path, limits: Limits) -> Pairs:
    """Returns the files of pairs.

    Args:
        source: a pairs.csv, a folder, or `video:GLOB`.
        folder: where pairs of videos are extracted to.
        limits: criteria for selecting pairs in a folder or video.
    """
    if source.startswith(VIDEO):
        videos = videos_of(source)
        origin = json.dumps({"videos": [str(v) for v in videos], **limits._asdict()}, indent=1)
        if not (folder / TABLE).exists():
            extract(videos, folder, limits)
            (folder / ORIGIN).write_text(origin, encoding="utf-8")
        elif not (folder / ORIGIN).exists() or (folder / ORIGIN).read_text("utf-8") != origin:
            raise DataError(f"{folder} has pairs of other videos or limits: remove it.")
        return _pairs_of_table(folder / TABLE)
    path = pathlib.Path(source).expanduser()
    if path.is_dir() and (path / TABLE).exists():
        path = path / TABLE
    if path.is_file() and path.suffix == ".csv":
        return _pairs_of_table(path)
    if path.is_dir():
        return _pairs_of_folders(path, limits)
    raise DataError(f"no pairs in {source}: give a pairs.csv, a folder of frames, or video:GLOB.")


def videos_of(source: str) -> list[pathlib.Path]:
    """Returns the files of `video:GLOB`; an empty list for other sources."""
    if not source.startswith(VIDEO):
        return []
    pattern = source[len(VIDEO) :]
    paths = sorted(p for p in map(pathlib.Path, glob.glob(pattern, recursive=True)) if p.is_file())
    if not paths:
        raise DataError(f"no videos match {pattern}.")
    return [path.resolve() for path in paths]


def _pairs_of_table(path: pathlib.Path) -> Pairs:
    """Returns the files NAME_a and NAME_b of each name in a table.

    They are next to the table, or in the folder pairs/ next to it.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or "name" not in rows[0]:
        raise DataError(f"{path} has no pairs: it needs a column `name`.")
    pairs, missing = [], []
    for row in rows:
        first, second = (_frame(path.parent, f"{row['name']}_{letter}") for letter in "ab")
        if first is None or second is None:
            missing.append(row["name"])
        else:
            pairs.append((first, second))
    if missing:
        logging.warning("not used: %d pairs without files, e.g. %s", len(missing), missing[0])
    if not pairs:
        raise DataError(f"{path}: there are no files {rows[0]['name']}_a and _b next to it.")
    return pairs


def _frame(folder: pathlib.Path, stem: str) -> pathlib.Path | None:
    """Returns the image file with this stem in a folder or its subfolder pairs/."""
    for parent in (folder, folder / "pairs"):
        for suffix in sorted(images.INPUT_SUFFIXES):
            if (parent / f"{stem}{suffix}").is_file():
                return parent / f"{stem}{suffix}"
    return None


def _pairs_of_folders(folder: pathlib.Path, limits: Limits) -> Pairs:
    """Returns pairs of a frame and a later one of the same folder, in the order of their names."""
    minimum, maximum = (max(1, round(gap * FOLDER_FPS)) for gap in limits.gap)
    scenes: dict[pathlib.Path, list[pathlib.Path]] = {}
    for path in sorted(folder.rglob("*"), key=_by_number):
        if path.suffix.lower() in images.INPUT_SUFFIXES:
            scenes.setdefault(path.parent, []).append(path)
    pairs, rng = [], np.random.default_rng(0)
    for frames in scenes.values():
        for i in range(0, len(frames) - minimum, minimum):
            gap = int(rng.integers(minimum, maximum + 1))
            pairs.append((frames[i], frames[min(i + gap, len(frames) - 1)]))
    if not pairs:
        raise DataError(f"no frames in {folder}: it needs folders of two images or more.")
    kept = [pair for pair in pairs if _files_within_motion_limits(*pair, limits)]
    logging.info("%d of %d pairs of frames are within the motion limits", len(kept), len(pairs))
    if not kept:
        raise DataError(
            f"no pair of frames in {folder} has a mean difference within {limits.motion}: "
            "set motion."
        )
    return kept


def _by_number(path: pathlib.Path) -> list[tuple[int, str]]:
    """Returns a sort key by which 2.png comes before 10.png."""
    return [(int(part or 0), text) for text, part in re.findall(r"([^0-9]*)([0-9]*)", str(path))]


def _files_within_motion_limits(first: pathlib.Path, second: pathlib.Path, limits: Limits) -> bool:
    frames = []
    for path in (first, second):
        try:
            frames.append(pixels_of(path))
        except (OSError, ValueError) as error:
            logging.warning("not used: %s: %s", path, error)
            return False
    return _within_motion_limits(frames[0], frames[1], limits)


def _within_motion_limits(a: np.ndarray, b: np.ndarray, limits: Limits) -> bool:
    if a.shape != b.shape:
        return False
    minimum, maximum = limits.motion
    return minimum <= difference(a, b) <= maximum


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the mean absolute difference of two frames' pixels."""
    return float(np.mean(np.abs(a.astype(np.float32) - b)))


def extract(paths: list[pathlib.Path], folder: pathlib.Path, limits: Limits) -> None:
    """Extracts pairs from videos as JPEG files, then writes their table.

    The table is written last, so that it exists only if all pairs do.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        raise DataError("videos need PyAV: pip install av.") from None
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str, float, float]] = []
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
    """Yields the name, gap and both frames of each pair of a video.

    The first frames of pairs are `limits.every` seconds apart. The second frame is the first one
    after a random gap. `number` is the number of the video.
    """
    import av

    rng = np.random.default_rng([2020, number])
    first: tuple[float, np.ndarray] | None = None
    next_time, gap, count = 0.0, 0.0, 0
    try:
        with av.open(str(path)) as video:
            for frame in video.decode(video=0):
                if frame.time is None:
                    continue
                if first is None and frame.time >= next_time:
                    first = frame.time, _scaled(frame, limits.side)
                    gap = rng.uniform(*limits.gap)
                elif first is not None and frame.time - first[0] >= gap:
                    seconds, second = frame.time - first[0], _scaled(frame, limits.side)
                    in_time = seconds <= limits.gap[1] + GAP_TOLERANCE
                    if in_time and _within_motion_limits(first[1], second, limits):
                        yield f"{path.stem}_{number:04d}_{count:05d}", seconds, first[1], second
                        count += 1
                    next_time, first = first[0] + limits.every, None
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise DataError(f"{path}: {error}") from None


def _scaled(frame: Any, side: int) -> np.ndarray:
    """Returns the pixels of a PyAV frame, with a short side of at most `side`."""
    image = frame.to_image()
    scale = side / min(image.size)
    if scale < 1.0:
        sides = [max(1, round(s * scale)) for s in image.size]
        image = image.resize(sides, Image.Resampling.LANCZOS)
    return np.asarray(image.convert("RGB"))


def with_equal_sizes(pairs: Pairs, side: int) -> Pairs:
    """Returns the pairs whose frames have equal sizes of at least `side` pixels."""
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
            "not used: %d of %d pairs: their frames differ in size or are smaller than %d pixels",
            *(len(pairs) - len(kept), len(pairs), side),
        )
    if not kept:
        raise DataError(f"no pair has frames of equal size with at least {side}×{side} pixels.")
    return kept


def crops_of_pairs(pairs: Pairs, side: int, seed: int, first: int = 0) -> tf.data.Dataset:
    """Returns an infinite dataset of uint8 crops [2, side, side, 3].

    The seed and its number determine a crop. Both frames are cropped at the same position, and
    mirrored and swapped at random. Every pair occurs once per epoch, so that hardly any batch
    contains a pair twice.
    """
    files = Files([path for pair in pairs for path in pair], side, pixels_of)

    def load(number: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng([seed, 3, int(number)])
        epoch, i = divmod(int(number), len(pairs))
        i = int(epoch_order(len(pairs), seed, epoch)[i])
        for _ in range(MAX_TRIES):
            first_frame, second_frame = files.image(2 * i), files.image(2 * i + 1)
            if (
                first_frame is not None
                and second_frame is not None
                and first_frame.shape == second_frame.shape
            ):
                break
            i = int(rng.integers(len(pairs)))
        else:
            raise DataError(f"no usable pair of frames in {MAX_TRIES} tries.")
        top, left = (int(rng.integers(s - side + 1)) for s in first_frame.shape[:2])
        frames = (first_frame, second_frame)
        both = np.stack([f[top : top + side, left : left + side] for f in frames])
        both = both[:: rng.choice([-1, 1])]
        return np.ascontiguousarray(both[:, :, :: rng.choice([-1, 1])])

    return examples(load, [2, side, side, 3], first)
