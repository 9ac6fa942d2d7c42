"""What a reconstruction costs in training: a metric, or a weighted sum of some."""

from __future__ import annotations

import re

import tensorflow as tf

from tfc_models.metrics import METRICS
from tfc_models.metrics.learned import given
from tfc_models.metrics.perceptual import LEARNED, shipped
from tfc_models.metrics.semantic import semantic_of

DISTORTIONS = tuple(name for name in METRICS if name != "psnr")
DEFAULT_LAMBDA = 0.01  # for squared error: about half a bit per pixel
# By how much squared error falls, where a unit of another distortion falls with it. That of
# MS-SSIM is the ratio of CompressAI's published λ for the two, 16.64 to 0.0130 and alike at the
# other qualities. The others are differences of the zoo's default model between qualities 40 and
# 60 over eight photos.
SQUARED_ERROR_PER_UNIT = {
    "mse": 1.0,
    "ms-ssim": 1280.0,
    "ssim": 470.0,
    "nlpd": 950.0,
    "lpips": 370.0,
    "pim": 250.0,
    "pim-bands": 38.0,
}
_TERM = re.compile(r"(?:([0-9]+(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?)\s*\*\s*)?([a-z-]+)")
_PLUS = re.compile(r"(?<![0-9.]e)\+")  # not that of 1e+2


def parsed(text: str) -> dict[str, float]:
    """Weights by metric, of "mse", "mse + 40*pim-bands + 120*lpips", …"""
    terms: dict[str, float] = {}
    for part in _PLUS.split(text) if isinstance(text, str) else ():
        found = _TERM.fullmatch(part.strip())
        weight = float(found[1] or 1.0) if found else 0.0
        if not weight or found[2] not in DISTORTIONS or found[2] in terms:
            terms.clear()
            break
        terms[found[2]] = weight
    if not terms:
        choices = ", ".join(DISTORTIONS)
        raise ValueError(
            f"distortion is one of {choices}, or a sum as mse+40*pim-bands; got {text!r}."
        )
    return terms


def squared_error_lambda(lmbda: float, terms: dict[str, float]) -> float:
    """Returns the λ for squared error that spends about the same rate as `lmbda` for `terms`."""
    if unknown := [name for name in terms if name not in SQUARED_ERROR_PER_UNIT]:
        raise ValueError(
            f"{unknown[0]} has no default lambda and no linear start: give lmbda, and "
            "start=random or a weights file."
        )
    return lmbda * sum(w / SQUARED_ERROR_PER_UNIT[name] for name, w in terms.items())


def default_lambda(terms: dict[str, float]) -> float:
    """Returns the λ for `terms` that stands for `DEFAULT_LAMBDA` for squared error."""
    return DEFAULT_LAMBDA / squared_error_lambda(1.0, terms)


def prepare(terms: dict[str, float]) -> None:
    """Loads weights that metrics need: what is first made in a replica is made for it alone."""
    for name in LEARNED.keys() & terms.keys():
        shipped(name)
    if "lpips" in terms:
        given()
    if "semantic" in terms:
        semantic_of()


def distortions(
    terms: dict[str, float], pictures: tf.Tensor, reconstructions: tf.Tensor
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Returns the weighted sum and each metric by name, for each pair."""
    pairs = {name: METRICS[name].distance(pictures, reconstructions) for name in terms}
    total = tf.add_n([weight * pairs[name] for name, weight in terms.items()])
    return total, pairs
