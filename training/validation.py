"""What a model reaches on whole pictures that it was not trained on."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models import metrics, models
from training import data

SHOWN = 4  # pictures whose reconstructions are kept
PICTURE = tf.TensorSpec([1, None, None, 3], tf.float32)


class Point(NamedTuple):
    """A rate, and what it gave: means over the pictures."""

    rate: float
    bpp: float
    psnr: float
    ms_ssim: float


class Validation:
    """Runs a model over a folder of pictures, quantized as it will be coded."""

    def __init__(self, model: models.CompressionModel, folder: str, rates: tuple[float, ...]):
        self.pictures = list(data.whole(folder))
        self.rates = rates if model.many_rates else (0.0,)
        self._model = model
        scalar = tf.TensorSpec([], tf.float32)
        self._one = tf.function(self._measure, input_signature=[PICTURE, scalar], autograph=False)

    def _measure(self, picture: tf.Tensor, rate: tf.Tensor) -> tuple[tf.Tensor, ...]:
        rate = {"rate": rate} if self._model.many_rates else {}
        output = self._model(picture, training=False, **rate)
        decoded = tf.saturate_cast(tf.round(output.reconstruction), tf.uint8)
        pixels = tf.cast(tf.shape(picture)[1] * tf.shape(picture)[2], tf.float32)
        pair = picture, tf.cast(decoded, tf.float32)
        bpp = tf.add_n(list(output.bits.values()))[0] / pixels
        return bpp, metrics.psnr(*pair)[0], metrics.ms_ssim(*pair)[0], decoded[0]

    def run(self) -> tuple[list[Point], list[np.ndarray]]:
        """A point for each rate, and the first pictures beside what became of them."""
        points, shown = [], []
        for rate in self.rates:
            rows = []
            for i, (_, pixels) in enumerate(self.pictures):
                bpp, psnr, ms_ssim, decoded = self._one(pixels[None].astype(np.float32), rate)
                rows.append((float(bpp), float(psnr), float(ms_ssim)))
                if i < SHOWN and rate == self.rates[len(self.rates) // 2]:
                    shown.append(np.concatenate([pixels, decoded.numpy()], axis=1))
            points.append(Point(rate, *(float(m) for m in np.mean(rows, axis=0))))
        return points, shown


def rd_plot(curves: dict[str, list[Point]]) -> np.ndarray:
    """Rate–distortion curves by name, as a picture."""
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(6, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot(xlabel="bits per pixel", ylabel="PSNR, dB")
    axes.grid(alpha=0.3)
    for name, points in curves.items():
        axes.plot([p.bpp for p in points], [p.psnr for p in points], "o-", label=name)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return np.asarray(Image.open(buffer).convert("RGB"))
