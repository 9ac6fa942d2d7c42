"""Generalized divisive normalization, on top of tfc's layer."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.layers.activation import relu
from tfc_models.layers.compression_layer import CompressionLayer
from tfc_models.layers.multiply import Multiplies

# (alpha, epsilon) in y_i = x_i / (beta_i + sum_j gamma_ji |x_j|^alpha)^epsilon.
FORMS = {"gdn": (2.0, 0.5), "gdn1": (1.0, 1.0)}


def nonlinearity(form: str, inverse: bool = False, name: str | None = None) -> Any:
    """Returns the nonlinearity between two stages: GDN in one of its forms, or "relu"."""
    return Relu(name=name) if form == "relu" else GDN(form, inverse=inverse, name=name)


class Relu(CompressionLayer):
    """Rectifier that takes the place of a GDN in comparisons."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns max(inputs, 0)."""
        return relu(inputs)


# On the largest maps a pass costs as much as a convolution: what lies between two products
# of matrices is one pass, compiled by XLA, where TensorFlow alone would make six.


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _pool_gradient(
    upstream: tf.Tensor, inputs: tf.Tensor, pool: tf.Tensor, form: str, inverse: bool
) -> tf.Tensor:
    """Returns the gradient of inputs · pool^±ε with respect to the pool."""
    product = upstream * inputs
    if form == "gdn1":
        return product if inverse else -(product / tf.square(pool))
    root = 0.5 * tf.math.rsqrt(pool)
    return product * root if inverse else -(product * root / pool)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _input_gradient(
    upstream: tf.Tensor,
    inputs: tf.Tensor,
    pool: tf.Tensor,
    through: tf.Tensor,
    form: str,
    inverse: bool,
) -> tf.Tensor:
    """Returns the gradient with respect to the inputs; `through` is that of their powers."""
    if form == "gdn1":
        direct = upstream * pool if inverse else upstream / pool
        return direct + tf.where(inputs < 0, -through, through)
    direct = upstream * (tf.sqrt(pool) if inverse else tf.math.rsqrt(pool))
    return direct + 2.0 * inputs * through


class GDN(tfc.GDN, Multiplies):
    """GDN in the form of the papers ("gdn") or in tfc's cheaper form ("gdn1").

    The form "gdn" has (alpha, epsilon) = (2, 1/2); "gdn1" has (1, 1), needs neither square
    nor root, and performs about as well (Johnston et al., arXiv:1912.08771). The layer
    computes in the dtype of its input; in bfloat16 the inner product over channels
    accumulates in float32 inside the convolution.
    """

    def __init__(
        self,
        form: str = "gdn",
        inverse: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if form not in FORMS:
            raise ValueError(f"gdn is one of {', '.join(FORMS)} and relu; got {form!r}.")
        alpha, epsilon = FORMS[form]
        super().__init__(
            inverse=inverse,
            alpha_parameter=alpha,
            epsilon_parameter=epsilon,
            name=name,
            **kwargs,
        )
        self.form = form
        self._folded_beta: tf.Variable | None = None
        self._folded_gamma: tf.Variable | None = None

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates beta and gamma."""
        super().build(input_shape)
        self._beta_parameter: Any
        self._gamma_parameter: Any
        # Keras saves the variables that are attributes of a layer, and no others.
        self._beta_variable = self._beta_parameter.variable
        self._gamma_variable = self._gamma_parameter.variable

    @property
    def beta(self) -> tf.Tensor:
        """Offsets of the pools."""
        return super().beta if self._folded_beta is None else tf.identity(self._folded_beta)

    @property
    def gamma(self) -> tf.Tensor:
        """Weights of the pools, inputs × outputs."""
        return super().gamma if self._folded_gamma is None else tf.identity(self._folded_gamma)

    def freeze(self) -> None:
        """Replaces the nonnegative parameterization of beta and gamma by plain tensors."""
        if not self.frozen:
            # Checkpoints tell them from the parameters by their names.
            self._folded_beta = tf.Variable(self.beta, trainable=False, name="beta")
            self._folded_gamma = tf.Variable(self.gamma, trainable=False, name="gamma")
            self._beta_variable = self._gamma_variable = None
            # tfc refuses to change a built layer through the public attributes.
            self._beta_parameter = self._gamma_parameter = None
        super().freeze()

    def state(self) -> dict[str, tf.Tensor]:
        """Returns the learned values by name."""
        return {"beta": self.beta, "gamma": self.gamma}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the values that `state` returned."""
        for parameter, key in ((self.beta_parameter, "beta"), (self.gamma_parameter, "gamma")):
            value = tf.convert_to_tensor(state[key], tf.float32)
            fresh = tfc.GDNParameter(value, minimum=parameter.minimum, offset=parameter.offset)
            parameter.variable.assign(fresh.variable)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalizes NHWC maps."""
        gamma = tf.cast(self.gamma, inputs.dtype)
        beta = tf.cast(self.beta, inputs.dtype)
        if not self.frozen:
            return self._differentiable(inputs, gamma, beta)
        return self._normalized(inputs, self._pool(inputs, gamma, beta)[1])

    def _pool(
        self, inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the powers of the inputs and their weighted sums."""
        powers = tf.square(inputs) if self.form == "gdn" else tf.abs(inputs)
        return powers, self.convolve(powers, gamma[None, None], beta, 1)

    def _normalized(self, inputs: tf.Tensor, pool: tf.Tensor) -> tf.Tensor:
        if self.form == "gdn":
            return inputs * (tf.sqrt(pool) if self.inverse else tf.math.rsqrt(pool))
        return inputs * pool if self.inverse else inputs / pool

    def _differentiable(self, inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
        """Returns the normalized maps, with an explicit gradient."""

        @tf.custom_gradient
        def normalized(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
            powers, pool = self._pool(inputs, gamma, beta)

            def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
                options = self.form, self.inverse
                of_pool = _pool_gradient(upstream, inputs, pool, *options)
                through = self.convolve(of_pool, tf.transpose(gamma)[None, None], None, 1)
                of_inputs = _input_gradient(upstream, inputs, pool, through, *options)
                rows, sums = (tf.reshape(t, [-1, t.shape[-1]]) for t in (powers, of_pool))
                of_gamma = tf.matmul(rows, sums, transpose_a=True)
                of_beta = tf.matmul(tf.ones_like(rows[:, :1]), sums, transpose_a=True)[0]
                return of_inputs, of_gamma, of_beta

            return self._normalized(inputs, pool), gradients

        return normalized(inputs, gamma, beta)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"form": self.form, "inverse": self.inverse, "name": self.name}
