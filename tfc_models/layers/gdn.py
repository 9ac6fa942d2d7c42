"""Generalized divisive normalization, on top of tfc's layer."""

from __future__ import annotations

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


@tf.custom_gradient
def _divided(inputs: tf.Tensor, pool: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Their quotient. Its gradients re-use it: on the largest maps every pass counts."""
    quotient = inputs / pool

    def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_inputs = upstream / pool
        return of_inputs, -(of_inputs * quotient)

    return quotient, gradients


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
        square = self.form == "gdn"
        pool = tf.square(inputs) if square else tf.abs(inputs)
        pool = self.convolve(pool, tf.convert_to_tensor(self.gamma)[None, None], self.beta, 1)
        if square:
            return inputs * (tf.sqrt(pool) if self.inverse else tf.math.rsqrt(pool))
        return inputs * pool if self.inverse else _divided(inputs, pool)

    def get_config(self) -> dict[str, Any]:
        return {"form": self.form, "inverse": self.inverse, "name": self.name}
