"""Hard shrinkage with a learned threshold per channel."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from tfc_models.layers.compression_layer import CompressionLayer

FIRST_THRESHOLD = 0.1
SHARPNESS = 4.0  # of the gate, whose slope at 0 is 0.4 times that at the threshold


class HardShrinkage(CompressionLayer):
    """Sets values of a small magnitude to zero and keeps all others.

    Kirmemis, Tekalp, "Shrinkage as Activation for Learned Image Compression" (ICIP 2020). For each
    channel with threshold θ::

        y = θ · HT(x / θ),    HT(r) = 0 if |r| < 1/2, otherwise r

    θ cancels where y is not zero. The derivative with respect to θ is therefore zero almost
    everywhere, and θ would never train. This layer replaces it by that of a smooth gate::

        y ≈ x · g,    g = sigmoid(k · (|x| / θ − 1/2)),    k = 4

    The gate has a gradient on both sides of the threshold. A channel whose outputs are all zero
    therefore recovers if the loss decreases with larger outputs. (The derivative of soft shrinkage
    is zero in such a channel.) The derivative with respect to x is exact: 1 or 0.

    The variable is log θ, so that θ is positive after every step. Zero is the limit where the layer
    is the identity. `CompressionModel.freeze` refuses thresholds that are not finite. The function
    has jumps: a value near its threshold may fall on either side, depending on how a machine rounds
    sums, so that pixels may differ by more between machines than those of other models.
    """

    parameter_group = "gains"

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the thresholds."""
        first = tf.keras.initializers.Constant(tf.math.log(FIRST_THRESHOLD))
        channels = tf.TensorShape(input_shape)[-1]
        self.logarithm = self.add_weight("logarithm", [channels], initializer=first)
        super().build(input_shape)

    @property
    def threshold(self) -> tf.Tensor:
        """Threshold θ of each channel; magnitudes below its half become zero."""
        return tf.exp(self.logarithm)

    def state(self) -> dict[str, tf.Tensor]:
        """Returns the learned values by name."""
        return {"logarithm": tf.identity(self.logarithm)}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the values that `state` returned."""
        self.logarithm.assign(state["logarithm"])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Applies the function to NHWC maps."""
        return _shrunk(inputs, self.logarithm)


@tf.custom_gradient
def _shrunk(inputs: tf.Tensor, logarithm: tf.Tensor) -> Any:
    half = tf.cast(0.5 * tf.exp(logarithm), inputs.dtype)
    kept = ~(tf.abs(inputs) < half)  # NaN is kept, so that it is noticed.

    def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_inputs = tf.where(kept, upstream, tf.zeros_like(upstream))
        return of_inputs, _logarithm_gradient(upstream, inputs, logarithm)

    return tf.where(kept, inputs, tf.zeros_like(inputs)), gradients


# One pass over the maps, compiled by XLA.
@functools.partial(tf.function, jit_compile=True, autograph=False)
def _logarithm_gradient(upstream: tf.Tensor, inputs: tf.Tensor, logarithm: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of x · sigmoid(k · (|x| / θ − 1/2)) with respect to log θ."""
    inputs, upstream = tf.cast(inputs, tf.float32), tf.cast(upstream, tf.float32)
    ratio = tf.abs(inputs) * tf.exp(-logarithm)
    gate = tf.sigmoid(SHARPNESS * (ratio - 0.5))
    slope = -SHARPNESS * inputs * gate * (1.0 - gate) * ratio
    return tf.reduce_sum(upstream * slope, axis=(0, 1, 2))
