"""Measurement of replacement decoders on files of images, and tables of the results."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from tfc_models import zoo
from tfc_models.codec import Codec
from tfc_models.decoders import ReplacementDecoder, decoder_file
from tfc_models.evaluation.journal import image_hash
from tfc_models.metrics import METRICS, Lpips
from tfc_models.metrics.pim import LEARNED
from tfc_models.metrics.record import PairFunction
from tfc_models.models.distortion import distortions
from tfc_models.training.validation import RGB_IMAGE
from training.experiments.realism_curve_table import PERCEPTION, Panel, Point

OWN = math.inf  # γ of the model's own decoder


def central(function: PairFunction, side: int) -> PairFunction:
    """Returns a metric of the central squares of images; of whole images if the side is 0."""

    def measured(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        def square(batch: tf.Tensor) -> tf.Tensor:
            top, left = tf.unstack(tf.maximum((tf.shape(batch)[1:3] - side) // 2, 0))
            return batch[:, top : top + side, left : left + side]

        return function(square(a), square(b))

    return measured if side else function


class Measurement:
    """Files of images at some qualities, and metrics of what decoders make of them.

    Args:
        base: name or path of the model.
        images: the images by name.
        qualities: qualities of the files; None for a single-rate model.
        terms: weights of the metrics in the perceptual distance of the training loss.
        judges: further metrics to measure.
        lpips_weights: weights files of LPIPS to measure with, in addition to that of training.
        pim_side: side of the central square on which PIM and PIM-bands are measured, as they take
            far longer than the other metrics; 0 for whole images.
    """

    def __init__(
        self,
        base: str,
        images: Mapping[str, np.ndarray],
        qualities: Sequence[int | None],
        terms: Mapping[str, float],
        judges: Sequence[str],
        lpips_weights: Sequence[str] = (),
        pim_side: int = 0,
    ) -> None:
        weights, name = zoo.find(base)
        model = zoo.build_model(weights)
        model.set_bfloat16("off")  # Files should not depend on the machine.
        self.codec = Codec(model, name)
        self.images, self.qualities, self._terms = images, qualities, dict(terms)
        networks = {f"lpips-{network.name}": network for network in map(Lpips, lpips_weights)}
        functions = {n: METRICS[n].function for n in ("mse", "psnr")}
        functions[PERCEPTION] = lambda a, b: distortions(self._terms, a, b)[0]
        for name in judges:
            function = METRICS[name].function
            functions[name] = central(function, pim_side) if name in LEARNED else function
        self._functions = {**functions, **networks}
        self._pim_side = pim_side
        self._compiled = tf.function(
            self._metrics, input_signature=[RGB_IMAGE] * 2, autograph=False
        )
        self._files = {
            q: [self.codec.compress(image, q) for image in images.values()] for q in qualities
        }
        self._latents = {
            q: [self.codec.latents(file) for file in files] for q, files in self._files.items()
        }

    def _metrics(self, image: tf.Tensor, decoded: tf.Tensor) -> list[tf.Tensor]:
        return [tf.reduce_mean(function(image, decoded)) for function in self._functions.values()]

    def decoder(self, path: pathlib.Path | None) -> ReplacementDecoder | None:
        """Returns the decoder of a file; None for the model's own, without a file."""
        return decoder_file.build(decoder_file.read(path), self.codec.model) if path else None

    def decoded(
        self, decoder: ReplacementDecoder | None, quality: int | None, index: int
    ) -> np.ndarray:
        """Returns the image that a decoder returns for a file; None is the model's own decoder."""
        if decoder is None:
            return self.codec.decompress(self._files[quality][index])
        latents = tf.constant(self._latents[quality][index][None])
        pixels = decoder.to_images(latents, None if quality is None else float(quality))[0]
        height, width = list(self.images.values())[index].shape[:2]
        return tf.saturate_cast(tf.round(pixels[:height, :width]), tf.uint8).numpy()

    def measured(self, image: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
        """Returns the metrics of an image and what a decoder made of it, by name."""
        pair = (tf.constant(pixels[None], tf.float32) for pixels in (image, decoded))
        return {n: float(value) for n, value in zip(self._functions, self._compiled(*pair))}

    def bpp(self, quality: int | None, index: int) -> float:
        """Returns the bits per pixel of a file."""
        height, width = list(self.images.values())[index].shape[:2]
        return 8.0 * len(self._files[quality][index]) / (height * width)

    def rows(self, path: pathlib.Path | None) -> dict[str, list[list[float]]]:
        """Returns the metrics of a decoder: for each quality, a row for each image."""
        decoder, rows = self.decoder(path), {}
        for quality in self.qualities:
            rows[str(quality)] = [
                list(self.measured(image, self.decoded(decoder, quality, i)).values())
                for i, image in enumerate(self.images.values())
            ]
        return rows

    @property
    def identity(self) -> dict[str, object]:
        """Everything that measurements of a decoder depend on, apart from its weights."""
        weights = {n: METRICS[n].weights for n in [*self._functions, *self._terms] if n in METRICS}
        return {
            "images": [image_hash(image) for image in self.images.values()],
            "files": {str(q): [len(f) for f in files] for q, files in self._files.items()},
            "metrics": list(self._functions),
            "terms": self._terms,
            "pim_side": self._pim_side,
            "weights": {n: w.digest() for n, w in weights.items() if w},
        }

    def stored_rows(
        self, path: pathlib.Path | None, store: pathlib.Path
    ) -> dict[str, list[list[float]]]:
        """Returns `rows`, from a file if it has those of the same decoder, images and metrics."""
        decoder = decoder_file.read(path).state if path else {}
        sums = {name: float(np.sum(value, dtype=np.float64)) for name, value in decoder.items()}
        identity = json.loads(json.dumps({**self.identity, "decoder": sums}))
        if store.exists():
            stored = json.loads(store.read_text(encoding="utf-8"))
            if stored["identity"] == identity:
                return stored["rows"]
        rows = self.rows(path)
        text = json.dumps({"identity": identity, "rows": rows}) + "\n"
        store.write_text(text, encoding="utf-8")
        return rows

    def panels(self, decoders: Mapping[float, pathlib.Path], store: pathlib.Path) -> list[Panel]:
        """Measures the model's own decoder and those of files, by γ, at each quality."""
        points: dict[int | None, list[Point]] = {q: [] for q in self.qualities}
        for gamma, path in {OWN: None, **decoders}.items():
            logging.info("measuring γ = %g on %d images", gamma, len(self.images))
            rows = self.stored_rows(path, store / f"measured-{gamma:g}.json")
            for q in self.qualities:
                values = dict(zip(self._functions, np.transpose(rows[str(q)])))
                points[q].append(Point(gamma, values))
        count = range(len(self.images))
        return [
            Panel(
                quality,
                float(np.mean([self.bpp(quality, i) for i in count])),
                sum(map(len, files)),
                points[quality],
            )
            for quality, files in self._files.items()
        ]
