"""Rate and quality of a model on whole images that are not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models import analysis, images, metrics, models
from tfc_models.training import data

SHOWN_IMAGES = 4  # whose reconstructions are returned
RGB_IMAGE = tf.TensorSpec([1, None, None, 3], tf.float32)


class Point(NamedTuple):
    """Means over images at a rate; images for which a metric is undefined are left out of its mean.

    Attributes:
        rate: the model's rate parameter.
        bpp: bits per pixel.
        psnr: PSNR in dB.
        ms_ssim: MS-SSIM.
        others: further metrics.
    """

    rate: float
    bpp: float
    psnr: float
    ms_ssim: float
    others: tuple[float, ...] = ()


class Validation:
    """Evaluates a model, with rounded latents, on a folder of images.

    Args:
        model: the model.
        folder: of whole images.
        rates: rates at which a variable-rate model is evaluated.
        others: names of metrics in addition to PSNR and MS-SSIM.
    """

    def __init__(
        self,
        model: models.CompressionModel,
        folder: str,
        rates: tuple[float, ...],
        others: Iterable[str] = (),
    ) -> None:
        self.others = tuple(others)
        self._named_images = list(data.named_images(folder))
        if not self._named_images:
            raise ValueError(f"--validation {folder} has no readable images.")
        self.rates = rates if model.many_rates else (0.0,)
        self._model = model
        scalar = tf.TensorSpec([], tf.float32)
        self._compiled = tf.function(
            self._measure, input_signature=[RGB_IMAGE, scalar], autograph=False
        )

    def _measure(self, image: tf.Tensor, rate: tf.Tensor) -> tuple[tf.Tensor, ...]:
        options = {"rate": rate} if self._model.many_rates else {}
        output = self._model(image, training=False, **options)
        decoded = tf.saturate_cast(tf.round(output.reconstruction), tf.uint8)
        pixels = tf.cast(tf.shape(image)[1] * tf.shape(image)[2], tf.float32)
        pair = image, tf.cast(decoded, tf.float32)
        bpp = tf.add_n(list(output.bits.values()))[0] / pixels
        names = "psnr", "ms-ssim", *self.others
        values = [metrics.METRICS[name].of_pair(*pair) for name in names]
        return tf.stack([bpp, *values]), decoded[0]

    def run(self) -> tuple[list[Point], list[np.ndarray]]:
        """Returns a point for each rate, and the first images next to their reconstructions."""
        points, shown = [], []
        for rate in self.rates:
            rows = []
            for i, (_, pixels) in enumerate(self._named_images):
                values, decoded = self._compiled(pixels[None].astype(np.float32), rate)
                rows.append(values.numpy().tolist())
                if i < SHOWN_IMAGES and rate == self.rates[len(self.rates) // 2]:
                    shown.append(np.concatenate([pixels, decoded.numpy()], axis=1))
            columns = ([v for v in column if not np.isnan(v)] for column in zip(*rows))
            means = [float(np.mean(c)) if c else float("nan") for c in columns]
            bpp, psnr, ms_ssim, *others = means
            points.append(Point(rate, bpp, psnr, ms_ssim, tuple(others)))
        return points, shown


def compare_with_frozen(
    model: models.CompressionModel,
    folder: str,
    rates: tuple[float, ...],
    calibration_images: tf.Tensor,
) -> tuple[list[Point], list[Point], float]:
    """Evaluates a model before and after freezing it.

    Args:
        model: the model; it is frozen afterwards.
        folder: of whole images.
        rates: rates at which a variable-rate model is evaluated.
        calibration_images: set the ranges of exact networks (see `CompressionModel.freeze`).

    Returns:
        Points of the model in floating point, points of the frozen model, and the mean relative
        increase of the rate.
    """
    floating, _ = Validation(model, folder, rates).run()
    model.freeze(images=calibration_images)
    frozen, _ = Validation(model, folder, rates).run()
    increase = np.mean([b.bpp / a.bpp - 1.0 for a, b in zip(floating, frozen)])
    return floating, frozen, float(increase)


def rd_plot(name: str, points: list[Point]) -> np.ndarray:
    """Returns an image of a rate–distortion plot."""
    curve = analysis.Curve(name, tuple(analysis.Point(*p[1:4]) for p in points), "model")
    figure = analysis.rd_plot([curve], analysis.METRICS[0])
    return images.read(analysis.save_plot(figure, "png"), background=(255, 255, 255)).pixels
