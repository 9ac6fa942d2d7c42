"""Training of decoders for the files of a fixed model: loading, latents, validation.

The model's analysis transform and entropy model are not trained, so its files do not change.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from absl import logging

from tfc_models import metrics, models, zoo
from tfc_models.layers import setting_for_gradients
from tfc_models.models.stored import digest
from tfc_models.training import data
from tfc_models.training.loop import Run


class BaseSettings(Protocol):
    """Settings that name a fixed model."""

    @property
    def base(self) -> str:
        """Name in the zoo, or path of published weights."""

    @property
    def model(self) -> str:
        """Expected name of the model in the registry."""

    @property
    def bfloat16(self) -> str:
        """Argument of `set_bfloat16`."""


def load_base(name: str) -> tuple[models.CompressionModel, str]:
    """Returns a zoo model in floating point, and the digest of its frozen weights.

    Args:
        name: name in the zoo, or path of published weights.
    """
    weights, _ = zoo.find(name)
    if not weights.frozen:
        raise ValueError(
            f"{name} is not frozen, and compressed files refer to frozen weights: publish it first."
        )
    base = models.build(weights.model, **{**weights.config, "kernel": "plain"})
    base.assign_state(weights.state)
    return base, digest(weights.state).hex()


def base_of(config: BaseSettings) -> tuple[models.CompressionModel, str]:
    """Returns the model that a config names; see `load_base`."""
    base, base_digest = load_base(config.base)
    base.set_bfloat16(setting_for_gradients(config.bfloat16))
    if config.model != base.name:
        raise ValueError(f"the config is for {config.model}; {config.base} is {base.name}.")
    return base, base_digest


def stratified(within: tf.Tensor) -> tf.Tensor:
    """Returns a number from 0 to 1 for each example, in as many equal intervals as examples.

    Args:
        within: uniform random numbers from 0 to 1, one per example: positions in the intervals.
    """
    count = tf.shape(within)[0]
    return (tf.cast(tf.range(count), tf.float32) + within) / tf.cast(count, tf.float32)


def weights_of_rates(base: models.CompressionModel, rate: tf.Tensor) -> tf.Tensor | float:
    """Returns the weight of each example's distortion: the square root of its rate's lambda.

    With it, a given relative error has the same weight at every rate.
    """
    return tf.sqrt(base.lambda_at(rate) / base.lmbda) if base.many_rates else 1.0


def latents_at(
    base: models.CompressionModel, images: tf.Tensor, rate: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns quantized latents without a gradient, and the rate that decoders take.

    The entropy model is computed in floating point. The frozen model's integers give means that
    differ slightly, so some latents are not those that a file of the image contains.
    """
    rate = rate if base.many_rates else None
    latents, _ = base.coder(base.to_latents(images, rate), False, rate)
    return tf.stop_gradient(latents), rate


class DecoderValidation:
    """Metrics of whole images that a decoder returns.

    Args:
        decoder: the decoder, with its base model.
        folder: of images that are not trained on.
        terms: names of metrics in addition to PSNR.
        rates: rates at which decoders of variable-rate models are measured.
        settings: values of further arguments of `decoded`, by name.

    Attributes:
        columns: names of the values in each row of `run`.
        settings: names of the first columns, which are not metrics.
    """

    def __init__(
        self,
        decoder: Any,
        folder: str,
        terms: Sequence[str],
        rates: Sequence[float],
        settings: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self._images = [pixels for _, pixels in data.named_images(folder)]
        if not self._images:
            raise ValueError(f"--validation {folder} has no readable images.")
        rates = rates if decoder.base.many_rates else (0.0,)
        values = {"quality": rates, **(settings or {})}
        self._values = list(itertools.product(*values.values()))
        self._metrics = ("psnr", *terms)
        self.settings = list(values)
        self.columns = [*self.settings, *self._metrics]
        minimum = max(metrics.METRICS[name].min_side for name in self._metrics)
        if any(min(image.shape[:2]) < minimum for image in self._images):
            raise ValueError(
                f"--validation {folder} has images smaller than {minimum} pixels, the minimum for "
                f"{', '.join(self._metrics)}."
            )
        self._decoder = decoder
        self._compiled = tf.function(self._measure, autograph=False, reduce_retracing=True)

    def decoded(self, image: tf.Tensor, rate: tf.Tensor | None) -> tf.Tensor:
        """Returns the reconstruction of an image."""
        return self._decoder(image, rate)

    def _measure(self, image: tf.Tensor, rate: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
        rate = rate if self._decoder.base.many_rates else None
        decoded = self.decoded(image, rate, *others)
        decoded = tf.cast(tf.saturate_cast(tf.round(decoded), tf.uint8), tf.float32)
        return tf.stack([metrics.METRICS[n].function(image, decoded)[0] for n in self._metrics])

    def run(self) -> list[list[float]]:
        """Returns the means over the images, one row for each combination of settings."""
        rows = []
        for values in self._values:
            settings = [tf.constant(value) for value in values]
            measured = [
                self._compiled(tf.constant(image[None], tf.float32), *settings)
                for image in self._images
            ]
            rows.append([*values, *np.mean(measured, axis=0).tolist()])
        return rows


class DecoderRun(Run):
    """A run that trains a decoder, validated by a `DecoderValidation`; see `Run`."""

    def _validate(self) -> None:
        if not self._validation:
            return
        rows, step = self.trainer.with_average(self._validation.run), self.trainer.steps_taken
        names, columns = self._validation.settings, self._validation.columns
        self._append_rows(columns, rows)
        for row in rows:
            label = "at " + ", ".join(f"{n} {v:g}" for n, v in zip(names, row))
            values = list(zip(columns, row))[len(names) :]
            for name, value in values:
                tf.summary.scalar(f"validation/{name} {label}", value, step=step)
            text = "  ".join(f"{n} {v:.4g}" for n, v in values)
            logging.info("validation %s: %s", label, text)
