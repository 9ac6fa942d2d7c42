"""BAPPS data set of human judgments: reader and scores.

Zhang et al. (CVPR 2018) published it with LPIPS. The layout is that of their archive: folders
2afc/SPLIT/KIND with ref, p0, p1 and judge, and jnd/SPLIT/KIND with p0, p1 and same. Patches are PNG
files. Answers are npy files with the share of people who chose p1, or who saw no difference.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfc_models.perceptual.trials import Distance, measured

SIZE = 64  # pixels per side, to which the authors' code scales patches of 256


class Choice(NamedTuple):
    """Human choice: which of two patches looks more like a reference."""

    reference: np.ndarray
    patches: tuple[np.ndarray, np.ndarray]
    chosen: float
    """Share of people who chose the second patch."""


class Sameness(NamedTuple):
    """Human judgment: whether two briefly shown patches are the same."""

    patches: tuple[np.ndarray, np.ndarray]
    same: float


def kinds(root: str | os.PathLike[str], test: str, split: str = "val") -> list[str]:
    """Returns the kinds of distortions in a split of 2afc or jnd."""
    folder = pathlib.Path(root) / test / split
    names = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if not names:
        raise FileNotFoundError(f"{root} is not BAPPS: there is no folder {test}/{split}/….")
    return names


def choices(
    root: str | os.PathLike[str], kind: str, split: str = "val", size: int = SIZE
) -> Iterator[Choice]:
    """Yields the choices for a kind of distortion, in file order; patches are scaled to `size`."""
    folder = pathlib.Path(root) / "2afc" / split / kind
    for name in _names(folder / "judge"):
        reference, *patches = (_patch(folder / part / name, size) for part in ("ref", "p0", "p1"))
        yield Choice(reference, (patches[0], patches[1]), _answer(folder / "judge" / name))


def samenesses(
    root: str | os.PathLike[str], kind: str, split: str = "val", size: int = SIZE
) -> Iterator[Sameness]:
    """Yields the judgments for a kind of distortion, in file order; scales patches to `size`."""
    folder = pathlib.Path(root) / "jnd" / split / kind
    for name in _names(folder / "same"):
        first, second = (_patch(folder / part / name, size) for part in ("p0", "p1"))
        yield Sameness((first, second), _answer(folder / "same" / name))


def agreement(first: np.ndarray, second: np.ndarray, chosen: np.ndarray) -> float:
    """Returns the 2AFC score: the share of agreement between people and distances."""
    said = (first < second) * (1.0 - chosen) + (second < first) * chosen
    return float(np.mean(said + 0.5 * (first == second)))


def average_precision(distances: np.ndarray, same: np.ndarray) -> float:
    """Returns the JND score: average precision of finding same pairs, with monotone precision."""
    order = np.argsort(distances, kind="stable")
    hits = np.cumsum(same[order])
    if not hits[-1]:
        raise ValueError("no pair was judged to be the same.")
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
    """Returns the agreement and the precision for each kind of distortion, and their means."""
    scores: dict[str, float] = {}
    for kind in kinds(root, "2afc", split):
        rows = list(choices(root, kind, split, size))
        reference = np.stack([row.reference for row in rows])
        first, second = (
            measured(distance, reference, np.stack([row.patches[i] for row in rows]), batch)
            for i in (0, 1)
        )
        chosen = np.array([row.chosen for row in rows])
        scores[f"2afc {kind}"] = agreement(first, second, chosen)
    scores["2afc"] = float(np.mean([v for k, v in scores.items() if k.startswith("2afc ")]))
    if (pathlib.Path(root) / "jnd" / split).is_dir():
        for kind in kinds(root, "jnd", split):
            pairs = list(samenesses(root, kind, split, size))
            first, second = (np.stack([pair.patches[i] for pair in pairs]) for i in (0, 1))
            answers = np.array([pair.same for pair in pairs])
            distances = measured(distance, first, second, batch)
            scores[f"jnd {kind}"] = average_precision(distances, answers)
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
                raise ValueError(f"{path} is not a readable image: {error}.") from None
            if patch.size != (size, size):
                patch = patch.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(patch)
    raise FileNotFoundError(f"there is no image {stem}.png.")


def _answer(stem: pathlib.Path) -> float:
    path = stem.with_name(f"{stem.name}.npy")
    try:
        value = float(np.load(path, allow_pickle=False).reshape(-1)[0])
    except (ValueError, OSError, IndexError, EOFError) as error:
        raise ValueError(f"{path} is not an answer: {error}.") from None
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{path} is not a share from 0 to 1: {value}.")
    return value
