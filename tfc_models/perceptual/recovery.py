"""Blind spots of metrics: images found by minimizing a distance to a reference.

The distance is minimized over pixels, from noise or from a strongly compressed image. Errors that
it does not measure remain. Artifacts that it rewards appear (Ding, Ma, Wang, Simoncelli,
"Comparison of Full-Reference Image Quality Models for Optimization of Image Processing Systems",
IJCV 2021).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tfc_models.perceptual.trials import Distance

Softened = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
STARTS = ("noise", "jpeg")
JPEG_QUALITY = 5
# Softness at the start and at the end, for metrics that have one.
SOFT, HARD = 1.0, 1e-6
# As in the paper: the first rate, halved ten times during a run, down to the last one.
RATE, LAST_RATE, HALVINGS = 0.005, 1e-4, 10


class Recovered(NamedTuple):
    """Result of minimizing a distance from a start.

    Attributes:
        metric: name of the minimized distance.
        start: noise or jpeg.
        first: first image.
        image: last image.
        distances: distances of the two to the reference, by metric.
    """

    metric: str
    start: str
    first: np.ndarray
    image: np.ndarray
    distances: dict[str, tuple[float, float]]


def first_image(reference: np.ndarray, start: str, seed: int = 0) -> np.ndarray:
    """Returns uniform noise, or the reference as a JPEG of quality 5."""
    if start not in STARTS:
        raise ValueError(f"start is one of {', '.join(STARTS)}; got {start!r}.")
    if start == "noise":
        return np.random.default_rng(seed).integers(0, 256, reference.shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(reference).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(buffer).convert("RGB"))


def minimized(
    distance: Distance | Softened,
    reference: np.ndarray,
    first: np.ndarray,
    steps: int = 2000,
    soft: bool = False,
) -> np.ndarray:
    """Returns the uint8 image that Adam reaches from `first` after a number of steps.

    With `soft`, the distance takes a softness as third argument, which falls from 1 to nearly 0.
    """
    target = tf.constant(reference[None], tf.float32)
    # Half a grey level inside the range, as gradients vanish where pixels are clipped.
    image = tf.Variable(np.clip(first[None] / 255.0, 0.002, 0.998), dtype=tf.float32)
    optimizer = tf.keras.optimizers.Adam()
    optimizer.build([image])

    @tf.function(autograph=False)
    def step(rate: tf.Tensor, softness: tf.Tensor) -> tf.Tensor:
        optimizer.learning_rate.assign(rate)
        more = (softness,) if soft else ()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(distance(target, 255.0 * image, *more))
        gradient = tape.gradient(loss, image)
        optimizer.apply_gradients([(gradient, image)])
        image.assign(tf.clip_by_value(image, 0.0, 1.0))
        return loss

    for i in range(steps):
        rate = max(LAST_RATE, RATE * 0.5 ** (i * HALVINGS // steps))
        softness = SOFT * (HARD / SOFT) ** (i / steps)
        if not np.isfinite(step(*(tf.constant(v, tf.float32) for v in (rate, softness)))):
            raise ValueError(f"the distance is not finite after {i} steps.")
    if not np.isfinite(image.numpy()).all():
        raise ValueError("a gradient of the distance is not finite.")
    return np.round(255.0 * image.numpy()[0]).astype(np.uint8)


def recover(
    reference: np.ndarray,
    distances: Mapping[str, Distance],
    metric: str,
    start: str = "noise",
    steps: int = 2000,
    seed: int = 0,
    softened: Softened | None = None,
) -> Recovered:
    """Minimizes one distance from a start, and measures the result by all distances.

    Args:
        reference: uint8 image H×W×3.
        distances: distances by name.
        metric: name of the distance to minimize.
        start: one of `STARTS`.
        steps: steps of Adam.
        seed: seed of the noise.
        softened: the same metric with a decreasing softness (`Metric.softened`).
    """
    first = first_image(reference, start, seed)
    soft = softened is not None
    image = minimized(softened or distances[metric], reference, first, steps, soft)
    sides = [reference] * 2, [first, image]
    pairs = [tf.constant(np.stack(side), tf.float32) for side in sides]
    measured = {name: np.asarray(measure(*pairs)) for name, measure in distances.items()}
    return Recovered(
        metric, start, first, image, {k: (float(v[0]), float(v[1])) for k, v in measured.items()}
    )


def recovery_figure(reference: np.ndarray, results: Sequence[Recovered]) -> Figure:
    """Returns a figure with one row per start: its first image, and the result of each metric.

    Below each image are the remaining shares of the distances at the start, by metric.
    """
    starts = list(dict.fromkeys(result.start for result in results))
    metrics = list(dict.fromkeys(result.metric for result in results))
    side = 2.1
    columns, height = len(metrics) + 2, side + 0.3 + 0.14 * len(metrics)
    figure = Figure(figsize=(side * columns, height * len(starts)))
    axes = figure.subplots(len(starts), columns, squeeze=False)
    for row, start in zip(axes, starts):
        own = [result for result in results if result.start == start]
        _show(row[0], reference, "reference")
        _show(row[1], own[0].first, f"start: {start}")
        lines = [f"{name}  {first:.4g}" for name, (first, _) in own[0].distances.items()]
        _below(row[1], "\n".join(lines))
        for axis, result in zip(row[2:], own):
            _show(axis, result.image, f"least {result.metric}")
            lines = [
                f"{name}  {last:.3g}  ({last / first if first else 0.0:.2%})"
                for name, (first, last) in result.distances.items()
            ]
            _below(axis, "\n".join(lines))
    figure.subplots_adjust(0.01, 0.02, 0.99, 0.97, 0.06, 0.1)
    return figure


def _show(axis: Axes, image: np.ndarray, title: str) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()
    axis.set_anchor("N")


def _below(axis: Axes, text: str) -> None:
    axis.text(0.0, -0.03, text, fontsize=7, va="top", transform=axis.transAxes)
