"""Keras layer that makes features compressible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.byte_fields import DamagedFileError
from tfc_models.features.coder import (
    LARGEST_CHANNELS,
    LARGEST_CLASSES,
    LARGEST_INTEGER,
    FeatureCoder,
)
from tfc_models.features.priors import ConditionalPrior, FactorizedPrior

PRIORS = ("factorized", "conditional")
RANKS = (2, 4)


@tf.keras.utils.register_keras_serializable(package="tfc_models")
class CompressibleFeatures(tf.keras.layers.Layer):
    """Quantizes features, and adds their bits to the loss of the model.

    Insert the layer between a backbone and a head (Singh et al., "End-to-end Learning of
    Compressible Features", 2020). In training, uniform noise replaces rounding, and the layer adds
    rate · bits per example to the loss. Otherwise it rounds. The metric `bits` is the number of
    bits per example.

    >>> model = tf.keras.Sequential([backbone, CompressibleFeatures(rate=1e-3), head])
    >>> model.compile("adam", loss)
    >>> model.fit(images, labels)
    >>> features = model.layers[1]
    >>> features.freeze()
    >>> strings = features.compress(backbone(images))

    Args:
        rate: weight λ of the bits per example in the loss.
        prior: `factorized` (one learned density per channel), or `conditional` (each vector has a
            coded class; a mean and a scale are learned for each class and channel).
        classes: number of classes of the conditional prior.
        initial_step: initial quantization step. One step is learned per channel.
        metric: name of the metric; choose others if a model has several of these layers.
        **kwargs: of Keras layers.
    """

    def __init__(
        self,
        rate: float = 1e-3,
        prior: str = "factorized",
        classes: int = 8,
        initial_step: float = 1.0,
        metric: str = "bits",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if prior not in PRIORS:
            raise ValueError(f"prior is one of {', '.join(PRIORS)}; got {prior!r}.")
        if not 0.0 <= rate < float("inf"):
            raise ValueError(f"rate is a number of at least 0; got {rate}.")
        if not 0.0 < initial_step < float("inf"):
            raise ValueError(f"initial_step is a number above 0; got {initial_step}.")
        if not 2 <= classes <= LARGEST_CLASSES:
            raise ValueError(f"classes are from 2 to {LARGEST_CLASSES}; got {classes}.")
        self.rate, self.prior_name, self.classes = float(rate), prior, int(classes)
        self.initial_step, self.metric = float(initial_step), metric
        self._coder: tuple[bytes, FeatureCoder] | None = None

    def build(self, input_shape: Any) -> None:
        """Creates the steps and the prior."""
        shape = tf.TensorShape(input_shape)
        channels = None if shape.rank is None else shape[-1]
        if shape.rank not in RANKS or not channels or channels > LARGEST_CHANNELS:
            raise ValueError(
                f"{self.name} takes batch × channels or batch × height × width × channels, with a "
                f"known number of channels; got {shape}: reshape the features before the layer."
            )
        start = tf.keras.initializers.Constant(np.log(self.initial_step))
        self.log_steps = self.add_weight("log_steps", (channels,), "float32", start)
        if self.prior_name == "factorized":
            self.prior: Any = FactorizedPrior(channels)
        else:
            self.prior = ConditionalPrior(channels, self.classes)
        # Steps and tables once frozen, for saving. The shape changes, which Keras allows only for
        # variables that it did not create.
        self.tables = tf.Variable(
            np.zeros(0, np.uint8), trainable=False, shape=[None], name="tables"
        )
        self.input_spec = tf.keras.layers.InputSpec(ndim=shape.rank, axes={-1: channels})
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns features with noise in training, otherwise quantized features."""
        training = tf.keras.backend.learning_phase() if training is None else training
        if not inputs.dtype.is_floating:
            raise ValueError(f"{self.name} takes floating-point features; got {inputs.dtype.name}.")
        steps = tf.exp(self.log_steps)
        latents = tf.cast(inputs, tf.float32) / steps
        if training:
            latents += tf.random.uniform(tf.shape(latents), -0.5, 0.5)
        else:
            latents = tf.round(latents)
        bits = self.prior.bits(latents, bool(training))
        bits = tf.reduce_sum(bits, axis=tuple(range(1, bits.shape.rank)))
        mean = tf.math.divide_no_nan(tf.reduce_sum(bits), tf.cast(tf.size(bits), tf.float32))
        self.add_loss(self.rate * mean)
        self.add_metric(bits, name=self.metric)
        return tf.cast(latents * steps, inputs.dtype)

    def freeze(self) -> None:
        """Builds the coding tables. Call it after training, and again after further training."""
        if not self.built:
            raise RuntimeError(f"{self.name} has no weights yet: call the model once.")
        steps = tf.exp(self.log_steps).numpy()
        if not np.isfinite(steps).all() or not (steps > 0.0).all():
            raise ValueError("the quantization steps are not finite: train with a lower rate.")
        coder = FeatureCoder(steps, self.prior.tables(), self.prior.classes)
        self.tables.assign(np.frombuffer(coder.to_bytes(), np.uint8))

    @property
    def frozen(self) -> bool:
        """Whether the coding tables exist, so that `compress` and `decompress` work."""
        return self.built and int(tf.size(self.tables)) > 0

    @property
    def coder(self) -> FeatureCoder:
        """Steps and tables of a frozen layer."""
        if not self.frozen:
            raise RuntimeError(f"{self.name} has no coding tables: call freeze() after training.")
        data = self.tables.numpy().tobytes()
        if self._coder is None or self._coder[0] != data:
            self._coder = (data, FeatureCoder.from_bytes(data))
        return self._coder[1]

    def integers(self, features: Any) -> np.ndarray:
        """Returns features in steps, rounded to integers, int32.

        Raises:
            ValueError: the features have another shape, are not finite, or are too large.
        """
        coder = self.coder
        if not np.allclose(tf.exp(self.log_steps).numpy(), coder.steps, rtol=1e-5, atol=0.0):
            raise RuntimeError(f"{self.name} was trained after freeze(): call freeze() again.")
        return quantized(features, coder)

    def compress(self, features: Any) -> list[bytes]:
        """Returns one string per example.

        Args:
            features: batch × channels, or batch × height × width × channels.
        """
        integers = self.integers(features)
        positions = int(np.prod(integers.shape[1:-1]))
        return self.coder.encode(integers.reshape(len(integers), positions, self.coder.channels))

    def decompress(
        self, strings: Sequence[bytes], shape: Sequence[int] | None = None
    ) -> np.ndarray:
        """Returns the features that strings hold, float32, with the batch first.

        Args:
            strings: one per example. They do not identify the layer: use those of this layer.
            shape: shape of one example. By default, it is a vector.

        Raises:
            DamagedFileError: a string is not valid.
        """
        coder = self.coder
        shape = (coder.channels,) if shape is None else tuple(int(size) for size in shape)
        if len(shape) not in (1, 3) or shape[-1] != coder.channels or min(shape) < 0:
            raise ValueError(
                f"shape is that of one example with {coder.channels} channels; got {shape}."
            )
        if not all(isinstance(string, bytes) for string in strings):
            raise TypeError("strings are a list of bytes, as returned by compress.")
        integers = coder.decode(strings, int(np.prod(shape[:-1])))
        return coder.features(integers).reshape(len(strings), *shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "rate": self.rate,
            "prior": self.prior_name,
            "classes": self.classes,
            "initial_step": self.initial_step,
            "metric": self.metric,
        }

    def load_own_variables(self, store: Any) -> None:
        """Reads steps and tables, and checks the tables."""
        super().load_own_variables(store)
        if not self.frozen:
            return
        try:
            coder = self.coder
        except DamagedFileError as error:
            raise ValueError(f"the coding tables of {self.name} are {error}") from None
        if (coder.channels, coder.classes) != (self.log_steps.shape[0], self.prior.classes):
            raise ValueError(f"the coding tables of {self.name} belong to another layer.")


def quantized(features: Any, coder: FeatureCoder) -> np.ndarray:
    """Returns features in steps of a coder, rounded to integers, int32.

    Raises:
        ValueError: the features have another shape, are not finite, or are too large.
    """
    try:
        values = np.asarray(features)
    except ValueError:
        raise ValueError("features are one array: all examples need the same shape.") from None
    if values.ndim not in RANKS or values.shape[-1] != coder.channels:
        raise ValueError(
            f"features are batch × {coder.channels} or batch × height × width × {coder.channels}; "
            f"got the shape {values.shape}."
        )
    if not (np.issubdtype(values.dtype, np.floating) or values.dtype == tf.bfloat16.as_numpy_dtype):
        raise ValueError(f"features are floating-point numbers; got {values.dtype}.")
    # As in `call`, so that both give the same integers.
    latents = tf.round(tf.constant(values.astype(np.float32)) / coder.steps).numpy()
    if not np.isfinite(latents).all():
        raise ValueError(
            "features contain NaN or infinite values: check the input and the weights of the "
            "backbone."
        )
    if latents.size and np.abs(latents).max() > LARGEST_INTEGER:
        raise ValueError(
            f"features exceed {LARGEST_INTEGER} quantization steps: normalize them or train the "
            "layer on features of this range."
        )
    return latents.astype(np.int32)
