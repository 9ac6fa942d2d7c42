"""Distortion term of the training loss: a metric or a weighted sum of metrics."""

from __future__ import annotations

import re

import tensorflow as tf

from tfc_models.metrics import METRICS

DISTORTIONS = tuple(name for name in METRICS if name != "psnr")
DEFAULT_LAMBDA = 0.01  # for squared error: about half a bit per pixel
# Decrease in squared error that comes with a decrease of 1 in another distortion. Unless the record
# says otherwise, measured with the zoo's default model between qualities 40 and 60 over eight
# photos.
SQUARED_ERROR_PER_UNIT = {
    name: metric.squared_error_per_unit
    for name, metric in METRICS.items()
    if metric.squared_error_per_unit
}
_TERM = re.compile(r"(?:([0-9]+(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?)\s*\*\s*)?([a-z-]+)")
_PLUS = re.compile(r"(?<![0-9.]e)\+")  # not that of 1e+2


def parsed(text: str) -> dict[str, float]:
    """Returns weights by metric, parsed from a sum such as "mse + 40*pim-bands + 120*lpips"."""
    terms: dict[str, float] = {}
    for part in _PLUS.split(text) if isinstance(text, str) else ():
        term = _TERM.fullmatch(part.strip())
        number, name = term.groups() if term else ("0", "")
        weight = float(number or 1.0)
        if not weight or name not in DISTORTIONS or name in terms:
            terms.clear()
            break
        terms[name] = weight
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
    """Returns the λ for `terms` that corresponds to `DEFAULT_LAMBDA` for squared error."""
    return DEFAULT_LAMBDA / squared_error_lambda(1.0, terms)


def prepare(terms: dict[str, float]) -> None:
    """Loads the weights of metrics; variables created in a replica would be local to it."""
    for name in terms:
        weights = METRICS[name].weights
        if weights:
            weights.prepare()


def distortions(
    terms: dict[str, float], images: tf.Tensor, reconstructions: tf.Tensor
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Returns the weighted sum and each metric by name, for each pair."""
    pairs = {name: METRICS[name].distance(images, reconstructions) for name in terms}
    total = tf.add_n([weight * pairs[name] for name, weight in terms.items()])
    return total, pairs
