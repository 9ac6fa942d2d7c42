"""Distortion of an encoder search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.metrics import METRICS
from tfc_models.models import CompressionModel
from tfc_models.models.distortion import (
    SQUARED_ERROR_PER_UNIT,
    distortions,
    parsed,
    squared_error_lambda,
)


class Tuning(NamedTuple):
    """Distortion of a search: metrics with weights relative to λ of squared error."""

    terms: tuple[tuple[str, float], ...]

    @property
    def weights(self) -> dict[str, float]:
        """Weights by metric."""
        return dict(self.terms)


def tuning_of(text: str | None, model: CompressionModel) -> Tuning:
    """Returns the distortion of a search.

    Args:
        text: metric, "psnr" for squared error, or a sum such as "psnr + 2*lpips". Weights are
            relative: metrics are first scaled so that a change in each counts as much as the change
            in squared error that usually comes with it. None: the model's own distortion.
        model: model that defines the scale.
    """
    own = parsed(model.distortion)
    if text is None:
        scale = squared_error_lambda(1.0, own)
        return Tuning(tuple((name, weight / scale) for name, weight in own.items()))
    terms = parsed(text.replace("psnr", "mse"))
    if unknown := [name for name in terms if name not in SQUARED_ERROR_PER_UNIT]:
        choices = ", ".join(["psnr", *list(SQUARED_ERROR_PER_UNIT)[1:]])
        raise ValueError(f"tune is one of {choices}, or a sum of them; got {unknown[0]!r}.")
    total = sum(terms.values())
    scaled = {k: w / total * SQUARED_ERROR_PER_UNIT[k] for k, w in terms.items()}
    return Tuning(tuple(scaled.items()))


def squared_error_weight(model: CompressionModel, rate: tf.Tensor) -> tf.Tensor:
    """Returns λ of squared error, relative to bits per pixel, at a rate."""
    scale = squared_error_lambda(1.0, parsed(model.distortion))
    lmbda = model.lambda_at(rate) if model.many_rates else tf.constant(model.lmbda)
    return tf.cast(lmbda * scale, tf.float32)


def distortion_of(tuning: Tuning, image: np.ndarray, decoded: np.ndarray) -> float:
    """Returns the distortion of uint8 images; squared error row by row, to save memory."""
    if set(tuning.weights) == {"mse"}:
        rows = zip(image, decoded)
        total = sum(float(np.square(a.astype(np.int32) - b).sum()) for a, b in rows)
        return tuning.weights["mse"] * total / image.size
    pair = (tf.constant(pixels[None], tf.float32) for pixels in (image, decoded))
    return float(distortions(tuning.weights, *pair)[0][0])


def check_size(tuning: Tuning, shape: Sequence[int]) -> None:
    """Raises ValueError if an image is too small for a metric of the search."""
    for name in tuning.weights:
        if min(shape[:2]) < METRICS[name].min_side:
            raise ValueError(
                f"{name} needs images of at least {METRICS[name].min_side} pixels on both sides; "
                f"this one has {shape[1]}×{shape[0]}: tune for another metric."
            )
