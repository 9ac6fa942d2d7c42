"""BAPPS: what people said of pairs of patches, read from its folders and scored.

Zhang et al. (CVPR 2018) publish it with LPIPS. Its layout is that of their archive: folders
2afc/SPLIT/KIND with ref, p0, p1 and judge, and jnd/SPLIT/KIND with p0, p1 and same; patches are
PNG, answers npy, the shares of people who chose p1, or who saw no difference.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfc_models.perceptual.trials import Distance, measured

SIZE = 64  # pixels a side, to which the authors' code scales patches of 256


class Choice(NamedTuple):
    """Which of two patches is nearer to a reference."""

    reference: np.ndarray
    patches: tuple[np.ndarray, np.ndarray]
    chosen: float
    """The share of people who said the second one."""


class Sameness(NamedTuple):
    """Whether two patches, shown for a moment, are the same."""

    patches: tuple[np.ndarray, np.ndarray]
    same: float


def kinds(root: str | os.PathLike[str], test: str, split: str = "val") -> list[str]:
    """Of distortions, the folders that a split of 2afc or jnd has."""
    folder = pathlib.Path(root) / test / split
    found = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if not found:
        raise FileNotFoundError(f"{root} is not BAPPS: there is no folder {test}/{split}/….")
    return found


def choices(
    root: str | os.PathLike[str], kind: str, split: str = "val", size: int = SIZE
) -> Iterator[Choice]:
    """Of a kind of distortion, in the order of the files; patches are scaled to `size`."""
    folder = pathlib.Path(root) / "2afc" / split / kind
    for name in _names(folder / "judge"):
        reference, *patches = (_patch(folder / part / name, size) for part in ("ref", "p0", "p1"))
        yield Choice(reference, tuple(patches), _answer(folder / "judge" / name))


def samenesses(
    root: str | os.PathLike[str], kind: str, split: str = "val", size: int = SIZE
) -> Iterator[Sameness]:
    """Of a kind of distortion, in the order of the files; patches are scaled to `size`."""
    folder = pathlib.Path(root) / "jnd" / split / kind
    for name in _names(folder / "same"):
        patches = tuple(_patch(folder / part / name, size) for part in ("p0", "p1"))
        yield Sameness(patches, _answer(folder / "same" / name))


def agreement(first: np.ndarray, second: np.ndarray, chosen: np.ndarray) -> float:
    """2AFC: how often people, and a metric with these distances, say the same."""
    said = (first < second) * (1.0 - chosen) + (second < first) * chosen
    return float(np.mean(said + 0.5 * (first == second)))


def average_precision(distances: np.ndarray, same: np.ndarray) -> float:
    """JND: of finding what people call the same by small distances; precision made monotone."""
    order = np.argsort(distances, kind="stable")
    hits = np.cumsum(same[order])
    if not hits[-1]:
        raise ValueError("nobody called any pair the same.")
    precision = hits / np.arange(1, len(hits) + 1)
    recall = np.concatenate([[0.0], hits / hits[-1]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope))


def score(
    distance: Distance,
    root: str | os.PathLike[str],
    split: str = "val",
    batch: int = 50,
    size: int = SIZE,
) -> dict[str, float]:
    """Agreement of every kind of distortion, precision of every one, and both means."""
    scores: dict[str, float] = {}
    for kind in kinds(root, "2afc", split):
        rows = list(choices(root, kind, split, size))
        reference = np.stack([row.reference for row in rows])
        near = [
            measured(distance, reference, np.stack([row.patches[i] for row in rows]), batch)
            for i in (0, 1)
        ]
        scores[f"2afc {kind}"] = agreement(*near, np.array([row.chosen for row in rows]))
    scores["2afc"] = float(np.mean([v for k, v in scores.items() if k.startswith("2afc ")]))
    if (pathlib.Path(root) / "jnd" / split).is_dir():
        for kind in kinds(root, "jnd", split):
            pairs = list(samenesses(root, kind, split, size))
            sides = (np.stack([pair.patches[i] for pair in pairs]) for i in (0, 1))
            answers = np.array([pair.same for pair in pairs])
            scores[f"jnd {kind}"] = average_precision(measured(distance, *sides, batch), answers)
        scores["jnd"] = float(np.mean([v for k, v in scores.items() if k.startswith("jnd ")]))
    return scores


def _names(folder: pathlib.Path) -> list[str]:
    names = sorted(path.stem for path in folder.glob("*.npy"))
    if not names:
        raise FileNotFoundError(f"{folder} has no answers (npy).")
    return names


def _patch(stem: pathlib.Path, size: int) -> np.ndarray:
    for suffix in (".png", ".bmp", ".jpg"):
        if (path := stem.with_name(stem.name + suffix)).is_file():
            try:
                with Image.open(path) as image:
                    patch = image.convert("RGB")
            except OSError as error:
                raise ValueError(f"{path} is no picture: {error}.") from None
            if patch.size != (size, size):
                patch = patch.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(patch)
    raise FileNotFoundError(f"there is no picture {stem}.png.")


def _answer(stem: pathlib.Path) -> float:
    path = stem.with_name(f"{stem.name}.npy")
    try:
        value = float(np.load(path, allow_pickle=False).reshape(-1)[0])
    except (ValueError, OSError, IndexError, EOFError) as error:
        raise ValueError(f"{path} is no answer: {error}.") from None
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{path} is no share of people: {value}.")
    return value
