"""Keras layers whose weights are rounded latents, trained with the bits that they take.

Each layer is a Keras layer of the same arguments, plus `bit_cost`, `prior` and `step` of
`RoundedWeight`. Its weights are in `rounded`, by name.
"""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow as tf

from tfc_models.weights.coded_tensor import DIRECT, FOURIER
from tfc_models.weights.rounded_weight import FACTORIZED, RoundedWeight


def _rounded_value(name: str) -> property:
    """Returns an attribute that computes a weight on every access."""

    def value(layer: CompressibleLayer) -> tf.Tensor | None:
        weight = layer.rounded.get(name)
        return None if weight is None else tf.cast(weight.value, layer.compute_dtype)

    def ignore(layer: CompressibleLayer, value: Any) -> None:
        """Ignores what `build` of the Keras layer assigns."""

    return property(value, ignore)


class CompressibleLayer(tf.keras.layers.Layer):
    """Mix-in that replaces the weights of a Keras layer by rounded latents.

    `rounded_names` are the names of the layer's weights, each with its transform.
    `plain_class` is the Keras layer.
    """

    rounded_names: ClassVar[dict[str, str]] = {}
    plain_class: Any = None

    def __init__(
        self,
        *arguments: Any,
        bit_cost: float = 0.0,
        prior: str = FACTORIZED,
        step: float = 1.0 / 16.0,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.bit_cost, self.prior, self.step = bit_cost, prior, step
        self.rounded: dict[str, RoundedWeight] = {}

    def add_weight(self, name: str | None = None, shape: Any = None, **options: Any) -> Any:
        """Creates a rounded weight in place of a variable."""
        if name not in self.rounded_names:
            return super().add_weight(name=name, shape=shape, **options)
        weight = RoundedWeight(
            tuple(int(side) for side in shape),
            self.rounded_names[name],
            options.get("initializer") or tf.keras.initializers.GlorotUniform(),
            self.bit_cost,
            self.prior,
            self.step,
            name=name,
        )
        self.rounded[name] = weight
        # Keras saves layers that are attributes.
        setattr(self, f"rounded_{name}", weight)
        if regularizer := options.get("regularizer"):
            self.add_loss(lambda: regularizer(weight.value))
        return None

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {"bit_cost": self.bit_cost, "prior": self.prior, "step": self.step}
        return {**super().get_config(), **own}

    def plain_config(self) -> dict[str, Any]:
        """Returns the arguments of the Keras layer."""
        return super().get_config()


@tf.keras.utils.register_keras_serializable("tfc_models")
class CompressibleDense(CompressibleLayer, tf.keras.layers.Dense):
    """Dense layer with compressible weights."""

    rounded_names: ClassVar[dict[str, str]] = {"kernel": DIRECT, "bias": DIRECT}
    plain_class = tf.keras.layers.Dense
    kernel, bias = _rounded_value("kernel"), _rounded_value("bias")


@tf.keras.utils.register_keras_serializable("tfc_models")
class CompressibleConv1D(CompressibleLayer, tf.keras.layers.Conv1D):
    """One-dimensional convolution with compressible weights."""

    rounded_names: ClassVar[dict[str, str]] = {"kernel": FOURIER, "bias": DIRECT}
    plain_class = tf.keras.layers.Conv1D
    kernel, bias = _rounded_value("kernel"), _rounded_value("bias")


@tf.keras.utils.register_keras_serializable("tfc_models")
class CompressibleConv2D(CompressibleLayer, tf.keras.layers.Conv2D):
    """Two-dimensional convolution with compressible weights."""

    rounded_names: ClassVar[dict[str, str]] = {"kernel": FOURIER, "bias": DIRECT}
    plain_class = tf.keras.layers.Conv2D
    kernel, bias = _rounded_value("kernel"), _rounded_value("bias")


@tf.keras.utils.register_keras_serializable("tfc_models")
class CompressibleDepthwiseConv2D(CompressibleLayer, tf.keras.layers.DepthwiseConv2D):
    """Depthwise convolution with compressible weights."""

    rounded_names: ClassVar[dict[str, str]] = {"depthwise_kernel": FOURIER, "bias": DIRECT}
    plain_class = tf.keras.layers.DepthwiseConv2D
    depthwise_kernel, bias = _rounded_value("depthwise_kernel"), _rounded_value("bias")


@tf.keras.utils.register_keras_serializable("tfc_models")
class CompressibleEmbedding(CompressibleLayer, tf.keras.layers.Embedding):
    """Embedding with compressible vectors."""

    rounded_names: ClassVar[dict[str, str]] = {"embeddings": DIRECT}
    plain_class = tf.keras.layers.Embedding
    embeddings = _rounded_value("embeddings")


COMPRESSIBLE = {
    layer.plain_class: layer
    for layer in (
        CompressibleDense,
        CompressibleConv1D,
        CompressibleConv2D,
        CompressibleDepthwiseConv2D,
        CompressibleEmbedding,
    )
}
"""Compressible layers by the Keras layers that they replace."""
