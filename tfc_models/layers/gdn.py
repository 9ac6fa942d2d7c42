"""Generalized divisive normalization, on top of tfc's layer."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.layers.activation import relu
from tfc_models.layers.multiply import Multiplies

# (alpha, epsilon) in y_i = x_i / (beta_i + sum_j gamma_ji |x_j|^alpha)^epsilon.
FORMS = {"gdn": (2.0, 0.5), "gdn1": (1.0, 1.0)}


def nonlinearity(form: str, inverse: bool = False, name: str | None = None) -> Any:
    """What stands between two stages of a transform: GDN in a form of it, or "relu"."""
    return Relu(name=name) if form == "relu" else GDN(form, inverse=inverse, name=name)


class Relu(tf.keras.layers.Layer):
    """Rectification in the place of a GDN, with nothing to learn: for comparison."""

    multiply_in_float32 = False

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name, autocast=False)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return relu(inputs)

    def freeze(self) -> None:
        """Nothing to fold."""

    def state(self) -> dict[str, tf.Tensor]:
        """No values."""
        return {}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Takes no values."""


# On the largest maps a pass costs as much as a convolution: what lies between two products
# of matrices is one pass, compiled by XLA, where TensorFlow alone would make six.


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _pool_gradient(
    upstream: tf.Tensor, inputs: tf.Tensor, pool: tf.Tensor, inverse: bool
) -> tf.Tensor:
    return upstream * inputs if inverse else -(upstream * inputs / tf.square(pool))


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _input_gradient(
    upstream: tf.Tensor, inputs: tf.Tensor, pool: tf.Tensor, through: tf.Tensor, inverse: bool
) -> tf.Tensor:
    """Directly, and `through` the magnitudes that the pool is of."""
    direct = upstream * pool if inverse else upstream / pool
    return direct + tf.where(inputs < 0, -through, through)


class GDN(tfc.GDN, Multiplies):
    """GDN in the form of the papers ("gdn") or in tfc's cheaper form ("gdn1").

    The form "gdn" has (alpha, epsilon) = (2, 1/2); "gdn1" has (1, 1), needs neither square
    nor root, and performs about as well (Johnston et al., arXiv:1912.08771). The layer
    computes in the dtype of its input; in bfloat16 the inner product over channels
    accumulates in float32 inside the convolution.
    """

    def __init__(
        self,
        form: str = "gdn1",
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
            autocast=False,
            **kwargs,
        )
        self.form = form
        self._frozen = False

    def freeze(self) -> None:
        """Folds the nonnegative reparameterization of beta and gamma to plain tensors."""
        if not self._frozen:
            beta, gamma = self.beta, self.gamma
            # tfc refuses to change a built layer through the public attributes.
            self._beta_parameter = tf.Variable(beta, trainable=False, name="beta")
            self._gamma_parameter = tf.Variable(gamma, trainable=False, name="gamma")
            self._frozen = True
            self.trainable = False

    def state(self) -> dict[str, tf.Tensor]:
        """Plain values by name."""
        return {"beta": self.beta, "gamma": self.gamma}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Takes the values that `state` gave."""
        for parameter, key in ((self.beta_parameter, "beta"), (self.gamma_parameter, "gamma")):
            value = tf.convert_to_tensor(state[key], tf.float32)
            fresh = tfc.GDNParameter(value, minimum=parameter.minimum, offset=parameter.offset)
            parameter.variable.assign(fresh.variable)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        gamma = tf.cast(self.gamma, inputs.dtype)
        beta = tf.cast(self.beta, inputs.dtype)
        if self.form == "gdn":
            pool = self.convolve(tf.square(inputs), gamma[None, None], beta, 1)
            return inputs * (tf.sqrt(pool) if self.inverse else tf.math.rsqrt(pool))
        if not self._frozen:
            return self._gdn1(inputs, gamma, beta)
        pool = self.convolve(tf.abs(inputs), gamma[None, None], beta, 1)
        return inputs * pool if self.inverse else inputs / pool

    def _gdn1(self, inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
        """The form "gdn1", with its gradient written out."""

        @tf.custom_gradient
        def normalized(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
            magnitudes = tf.abs(inputs)
            pool = self.convolve(magnitudes, gamma[None, None], beta, 1)

            def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
                of_pool = _pool_gradient(upstream, inputs, pool, self.inverse)
                through = self.convolve(of_pool, tf.transpose(gamma)[None, None], None, 1)
                of_inputs = _input_gradient(upstream, inputs, pool, through, self.inverse)
                rows, sums = (tf.reshape(t, [-1, t.shape[-1]]) for t in (magnitudes, of_pool))
                of_gamma = tf.matmul(rows, sums, transpose_a=True)
                of_beta = tf.matmul(tf.ones_like(rows[:, :1]), sums, transpose_a=True)[0]
                return of_inputs, of_gamma, of_beta

            return (inputs * pool if self.inverse else inputs / pool), gradients

        return normalized(inputs, gamma, beta)

    def get_config(self) -> dict[str, Any]:
        return {"form": self.form, "inverse": self.inverse, "name": self.name}
