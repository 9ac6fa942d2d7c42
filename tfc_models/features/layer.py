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
    FeatureCoder,
)
from tfc_models.features.priors import SPEED, ConditionalPrior, FactorizedPrior

PRIORS = ("factorized", "conditional")
QUANTIZATIONS = ("noise", "straight-through")
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
        quantization: substitute for rounding in training. `noise`: uniform noise, for the bits and
            for the head. `straight-through`: noise for the bits, and for the head rounding with a
            gradient of 1. At few bits, features with noise have information that rounding removes.
        metric: name of the metric; choose others if a model has several of these layers.
        **kwargs: of Keras layers.
    """

    def __init__(
        self,
        rate: float = 1e-3,
        prior: str = "factorized",
        classes: int = 8,
        initial_step: float = 1.0,
        quantization: str = "noise",
        metric: str = "bits",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if prior not in PRIORS:
            raise ValueError(f"prior is one of {', '.join(PRIORS)}; got {prior!r}.")
        if quantization not in QUANTIZATIONS:
            known = ", ".join(QUANTIZATIONS)
            raise ValueError(f"quantization is one of {known}; got {quantization!r}.")
        if not 0.0 <= rate < float("inf"):
            raise ValueError(f"rate is a number of at least 0; got {rate}.")
        if not 0.0 < initial_step < float("inf"):
            raise ValueError(f"initial_step is a number above 0; got {initial_step}.")
        if not 2 <= classes <= LARGEST_CLASSES:
            raise ValueError(f"classes are from 2 to {LARGEST_CLASSES}; got {classes}.")
        self.rate, self.prior_name, self.classes = float(rate), prior, int(classes)
        self.initial_step, self.quantization = float(initial_step), quantization
        self.metric = metric
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
        start = tf.keras.initializers.Constant(np.log(self.initial_step) / SPEED)
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
        steps = self._steps()
        latents = tf.cast(inputs, tf.float32) / steps
        if training:
            noisy = latents + tf.random.uniform(tf.shape(latents), -0.5, 0.5)
            bits = self.prior.bits(noisy, training=True)
        if training and self.quantization == "noise":
            quantized = noisy
        else:
            rounded = self.prior.rounded(latents)
            quantized = latents + tf.stop_gradient(rounded - latents)
        if not training:
            quantized = rounded
            bits = self.prior.bits(rounded, training=False)
        bits = tf.reduce_sum(bits, axis=tuple(range(1, bits.shape.rank)))
        mean = tf.math.divide_no_nan(tf.reduce_sum(bits), tf.cast(tf.size(bits), tf.float32))
        self.add_loss(self.rate * mean)
        self.add_metric(bits, name=self.metric)
        return tf.cast(quantized * steps, inputs.dtype)

    def _steps(self) -> tf.Tensor:
        return tf.exp(SPEED * self.log_steps)

    def initialize(self, features: Any) -> None:
        """Sets the scales of the prior by features, before training from a trained backbone.

        Choose `initial_step` such that quantization hardly changes the accuracy: about 0.15 times
        the largest standard deviation of a channel.

        Args:
            features: of some hundred examples, in the shape of the inputs.
        """
        features = tf.convert_to_tensor(features, tf.float32)
        if not self.built:
            self.build(features.shape)
        channels = self.log_steps.shape[0]
        self.prior.initialize(tf.reshape(features, (-1, channels)) / self._steps())

    def freeze(self) -> None:
        """Builds the coding tables. Call it after training, and again after further training."""
        if not self.built:
            raise RuntimeError(f"{self.name} has no weights yet: call the model once.")
        steps = self._steps().numpy()
        offsets = self.prior.offsets().numpy()
        if not (np.isfinite(steps).all() and (steps > 0.0).all() and np.isfinite(offsets).all()):
            raise ValueError(
                f"the weights of {self.name} are not finite: train with a lower learning rate."
            )
        coder = FeatureCoder(steps, offsets, self.prior.tables(), self.prior.classes)
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

    def checked(self, features: Any) -> np.ndarray:
        """Returns features as an array.

        Raises:
            RuntimeError: the layer has no coding tables, or was trained after they were built.
            ValueError: the features have another shape or type.
        """
        if not np.allclose(self._steps().numpy(), self.coder.steps, rtol=1e-5, atol=0.0):
            raise RuntimeError(f"{self.name} was trained after freeze(): call freeze() again.")
        return checked(features, self.coder.channels)

    def compress(self, features: Any) -> list[bytes]:
        """Returns one string per example.

        Args:
            features: batch × channels, or batch × height × width × channels.
        """
        values = self.checked(features)
        positions = int(np.prod(values.shape[1:-1]))
        return self.coder.encode(values.reshape(len(values), positions, values.shape[-1]))

    def quantize(self, features: Any) -> np.ndarray:
        """Returns features as `decompress` returns them after `compress`."""
        return self.coder.quantize(self.checked(features))

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
        features = coder.decode(strings, int(np.prod(shape[:-1])))
        return features.reshape(len(strings), *shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "rate": self.rate,
            "prior": self.prior_name,
            "classes": self.classes,
            "initial_step": self.initial_step,
            "quantization": self.quantization,
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


def checked(features: Any, channels: int) -> np.ndarray:
    """Returns features as a float32 array.

    Raises:
        ValueError: the features have another shape or type.
    """
    try:
        values = np.asarray(features)
    except ValueError:
        raise ValueError("features are one array: all examples need the same shape.") from None
    if values.ndim not in RANKS or values.shape[-1] != channels:
        raise ValueError(
            f"features are batch × {channels} or batch × height × width × {channels}; "
            f"got the shape {values.shape}."
        )
    if not (np.issubdtype(values.dtype, np.floating) or values.dtype == tf.bfloat16.as_numpy_dtype):
        raise ValueError(f"features are floating-point numbers; got {values.dtype}.")
    return values.astype(np.float32)
