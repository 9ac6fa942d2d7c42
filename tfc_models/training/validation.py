"""What a model reaches on whole pictures that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models import analysis, images, metrics, models
from tfc_models.training import data

SHOWN = 4  # pictures whose reconstructions are kept
RGB_IMAGE = tf.TensorSpec([1, None, None, 3], tf.float32)


class Point(NamedTuple):
    """A rate, and what it gave: means over the pictures that have such a figure."""

    rate: float
    bpp: float
    psnr: float
    ms_ssim: float
    others: tuple[float, ...] = ()
    """Of the further metrics that were asked for."""


class Validation:
    """Runs a model over a folder of pictures, quantized as it will be coded.

    Args:
        model: the model.
        folder: of whole pictures.
        rates: where a model of many rates is measured.
        others: metrics to measure besides.
    """

    def __init__(
        self,
        model: models.CompressionModel,
        folder: str,
        rates: tuple[float, ...],
        others: Iterable[str] = (),
    ) -> None:
        self.others = tuple(others)
        self.pictures = list(data.whole(folder))
        if not self.pictures:
            raise ValueError(f"--validation {folder} has no picture that can be read.")
        self.rates = rates if model.many_rates else (0.0,)
        self._model = model
        scalar = tf.TensorSpec([], tf.float32)
        self._one = tf.function(self._measure, input_signature=[RGB_IMAGE, scalar], autograph=False)

    def _measure(self, picture: tf.Tensor, rate: tf.Tensor) -> tuple[tf.Tensor, ...]:
        rate = {"rate": rate} if self._model.many_rates else {}
        output = self._model(picture, training=False, **rate)
        decoded = tf.saturate_cast(tf.round(output.reconstruction), tf.uint8)
        pixels = tf.cast(tf.shape(picture)[1] * tf.shape(picture)[2], tf.float32)
        pair = picture, tf.cast(decoded, tf.float32)
        bpp = tf.add_n(list(output.bits.values()))[0] / pixels
        names = "psnr", "ms-ssim", *self.others
        figures = [metrics.METRICS[name].of_pair(*pair) for name in names]
        return tf.stack([bpp, *figures]), decoded[0]

    def run(self) -> tuple[list[Point], list[np.ndarray]]:
        """A point for each rate, and the first pictures beside what became of them."""
        points, shown = [], []
        for rate in self.rates:
            rows = []
            for i, (_, pixels) in enumerate(self.pictures):
                figures, decoded = self._one(pixels[None].astype(np.float32), rate)
                rows.append(figures.numpy().tolist())
                if i < SHOWN and rate == self.rates[len(self.rates) // 2]:
                    shown.append(np.concatenate([pixels, decoded.numpy()], axis=1))
            columns = ([v for v in column if not np.isnan(v)] for column in zip(*rows))
            means = [float(np.mean(c)) if c else float("nan") for c in columns]
            points.append(Point(rate, *means[:3], tuple(means[3:])))
        return points, shown


def beside_frozen(
    model: models.CompressionModel, folder: str, rates: tuple[float, ...], shown: tf.Tensor
) -> tuple[list[Point], list[Point], float]:
    """Points of the float model, and once it is frozen; and what that added to the bits, a part.

    `shown` are crops that tell what to expect (see `CompressionModel.freeze`).
    """
    floating, _ = Validation(model, folder, rates).run()
    model.freeze(pictures=shown)
    frozen, _ = Validation(model, folder, rates).run()
    added = np.mean([b.bpp / a.bpp - 1.0 for a, b in zip(floating, frozen)])
    return floating, frozen, float(added)


def rd_plot(name: str, points: list[Point]) -> np.ndarray:
    """The rate–distortion curve of some points, as a picture."""
    curve = analysis.Curve(name, tuple(analysis.Point(*p[1:4]) for p in points), "model")
    figure = analysis.rd_plot([curve], analysis.METRICS[0])
    return images.read(analysis.save_plot(figure, "png"), background=(255, 255, 255)).pixels
