"""What a reconstruction costs in training: a metric, or a weighted sum of some."""

from __future__ import annotations

import re

import tensorflow as tf

from tfc_models.metrics import METRICS
from tfc_models.metrics.learned import given
from tfc_models.metrics.perceptual import LEARNED, shipped
from tfc_models.metrics.semantic import semantic_of

DISTORTIONS = tuple(name for name in METRICS if name != "psnr")
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
    """The weighted sum for each pair, and the means of the metrics by name."""
    pairs = {name: METRICS[name].distance(pictures, reconstructions) for name in terms}
    total = tf.add_n([weight * pairs[name] for name, weight in terms.items()])
    return total, {name: tf.reduce_mean(values) for name, values in pairs.items()}
