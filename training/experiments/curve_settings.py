"""Flags and settings of the experiments that train a decoder for each of several γ."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from tfc_models import metrics, models
from tfc_models.metrics import METRICS
from tfc_models.training import data
from training.experiments.realism_curve_table import format_gamma

GAMMAS = flags.DEFINE_list("gammas", None, "weights of the squared error (default: the program's)")
QUALITIES = flags.DEFINE_list(
    "qualities", None, "qualities (default: the program's); not for single-rate models"
)
JUDGES = flags.DEFINE_list(
    "judges", None, "further metrics that are not trained for (default: the program's)"
)

SETTINGS = "curve.json"


def checked_gammas(texts: Sequence[str]) -> list[float]:
    """Returns --gammas, largest first; raises ValueError for invalid ones."""
    joined = ",".join(texts)
    try:
        gammas = [float(text) for text in texts]
    except ValueError:
        raise ValueError(f"--gammas must be numbers; got {joined}.") from None
    if not all(0.0 <= gamma < math.inf for gamma in gammas):
        raise ValueError(f"--gammas must be 0 or more, and finite; got {joined}.")
    if len({format_gamma(gamma) for gamma in gammas}) != len(gammas):
        raise ValueError(f"--gammas must be different numbers; got {joined}.")
    if len(gammas) < 3:
        raise ValueError(f"a knee needs three --gammas or more; got {joined}.")
    return sorted(gammas, reverse=True)


def checked_qualities(
    texts: Sequence[str] | None, base: models.CompressionModel, default: Sequence[int]
) -> list[int]:
    """Returns --qualities; an empty list for a single-rate model."""
    if not base.many_rates:
        if texts is not None:
            raise ValueError(f"{base.name} is a single-rate model: leave out --qualities.")
        return []
    if texts is None:
        return list(default)
    qualities = [int(text) for text in texts if text.isdecimal() and int(text) <= 100]
    if not qualities or len(set(qualities)) != len(texts):
        raise ValueError(
            f"--qualities must be different integers from 0 to 100; got {','.join(texts)}."
        )
    return qualities


def checked_judges(names: Sequence[str], terms: Mapping[str, float]) -> list[str]:
    """Returns --judges; raises ValueError for metrics in the loss, and repeated ones."""
    for name in names:
        metrics.named(name)
        if name in ("mse", "psnr", *terms) or list(names).count(name) > 1:
            raise ValueError(
                "--judges must be different metrics that are not trained for, except MSE and PSNR, "
                f"which are always measured; got {','.join(names)}."
            )
    return list(names)


def checked_images(folder: str | None, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the images of --validation, which must be large enough for these metrics."""
    if not folder:
        raise ValueError("give --validation, a folder of whole images to measure with.")
    minimum = max(METRICS[name].min_side for name in names)
    images = dict(data.named_images(folder))
    if not images:
        raise ValueError(f"--validation {folder} has no readable images.")
    for name, pixels in images.items():
        if min(pixels.shape[:2]) < minimum:
            height, width = pixels.shape[:2]
            raise ValueError(
                f"--validation {name} has {width}×{height} pixels: the metrics need at least "
                f"{minimum}×{minimum}."
            )
    return images


def check_changes(changes: Sequence[str], steps: int, fixed: Mapping[str, str]) -> None:
    """Raises ValueError for --set without effect, and for a budget that is not in steps.

    Args:
        changes: the values of --set.
        steps: the config's budget.
        fixed: settings that --set cannot change, and the reasons.
    """
    for change in changes:
        if reason := fixed.get(change.partition("=")[0]):
            raise ValueError(f"--set {change} is not possible here: {reason}.")
    if not steps:
        raise ValueError(f"give --steps, the number for each decoder: {fixed['minutes']}.")


def store(workdir: pathlib.Path, settings: Mapping[str, Any]) -> None:
    """Writes the decoders' common settings; raises ValueError if the folder has other ones."""
    workdir.mkdir(parents=True, exist_ok=True)
    settings, path = json.loads(json.dumps(settings)), workdir / SETTINGS
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        names = {*settings, *stored}
        if changed := sorted(k for k in names if settings.get(k) != stored.get(k)):
            raise ValueError(
                f"{workdir} holds a curve with another {', '.join(changed)}: "
                "choose another --workdir."
            )
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
