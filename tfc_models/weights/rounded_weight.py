"""A weight as the rounded latent of a reparameterization, with its rate.

After Oktay, Ballé, Singh, Shrivastava, "Scalable Model Compression by Entropy Penalized
Reparameterization" (ICLR 2020). The latents are the weight itself, or for convolutions the Fourier
transform of the kernel. They are rounded to multiples of learned steps, with gradients as if they
were not. Uniform noise in place of rounding gives the rate under learned densities.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.entropy.factorized import Densities
from tfc_models.weights import fourier
from tfc_models.weights.coded_tensor import FOURIER, CodedTensor, checked_integers
from tfc_models.weights.steps import CODES_PER_OCTAVE, nearest_codes

FACTORIZED, LOGISTIC, POWER_LAW = "factorized", "logistic", "power-law"
PRIORS = (FACTORIZED, LOGISTIC, POWER_LAW)
LEAST_BIAS_STEP = 2.0**-8
"""Initial step of vectors at least: a bias that has hardly trained may be close to 0."""
STEP_OF_CONSTANTS = 2.0**-6
LARGEST_LOG_STEP = 40.0


def _rounded(values: tf.Tensor) -> tf.Tensor:
    """Rounds, with the gradient of the identity."""
    return values + tf.stop_gradient(tf.round(values) - values)


def _stored_steps(log_steps: tf.Tensor) -> tf.Tensor:
    """Returns steps as files store them, with the gradient of the exponential function."""
    steps = tf.exp(tf.clip_by_value(log_steps, -LARGEST_LOG_STEP, LARGEST_LOG_STEP))
    octave = tf.pow(2.0, tf.floor(tf.math.log(steps) / math.log(2.0)))
    fraction = tf.round(CODES_PER_OCTAVE * (steps / octave - 1.0)) / CODES_PER_OCTAVE
    return steps + tf.stop_gradient(octave * (1.0 + fraction) - steps)


@tf.keras.utils.register_keras_serializable("tfc_models")
class RoundedWeight(tf.keras.layers.Layer):
    """Weight tensor of a layer: latents, steps and the prior of the latents.

    The rate is added to the losses as `bit_cost` · bits. Fourier transforms have one step and one
    density for each frequency, other weights one of each.

    Args:
        shape: of the weight.
        transform: "direct" or "fourier" (see `CodedTensor`).
        initializer: of the weight.
        bit_cost: loss per bit.
        prior: "factorized": learned densities. "logistic": logistic densities with learned scales.
            "power-law": the penalty log((|x| + α) / α) in place of the bits, for files without an
            entropy coder.
        step: initial step as a share of the standard deviation of the weight.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        transform: str,
        initializer: Any,
        bit_cost: float,
        prior: str = FACTORIZED,
        step: float = 1.0 / 16.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=tf.float32)
        if prior not in PRIORS:
            raise ValueError(f"prior is one of {', '.join(PRIORS)}; got {prior!r}.")
        if not (0.0 <= bit_cost < math.inf and 0.0 < step < math.inf):
            raise ValueError(
                f"bit_cost must be 0 or more and step above 0; got {bit_cost}, {step}."
            )
        self._shape, self._transform, self._bit_cost = tuple(shape), transform, bit_cost
        self._prior_name, self._initial_step = prior, step
        groups = math.prod(self._shape[:-2]) if transform == FOURIER else 1
        self.latent = self.add_weight("latent", [groups, math.prod(self._shape) // groups])
        self.log_steps = self.add_weight("log_steps", [groups])
        if prior == FACTORIZED:
            self._density = Densities(batch_shape=[groups])
            self.density_variables = list(self._density.base.trainable_variables)
        elif prior == LOGISTIC:
            self.density_variables = [self.add_weight("log_scale", [groups])]
        else:
            self.density_variables = []
            self._penalty = tfc.PowerLawEntropyModel(2, bottleneck_dtype=tf.float32)
        self.add_loss(self._rate_loss)
        self.built = True
        self.assign(initializer(self._shape, dtype=tf.float32))

    @property
    def steps(self) -> tf.Tensor:
        """Steps of each group, as files store them."""
        return _stored_steps(self.log_steps)

    @property
    def value(self) -> tf.Tensor:
        """The rounded weight."""
        steps = self.steps[:, None]
        rounded = _rounded(self.latent / steps) * steps
        if self._transform == FOURIER:
            basis = tf.constant(fourier.basis(self._shape[:-2]), tf.float32)
            rounded = tf.matmul(basis, rounded, transpose_a=True)
        return tf.reshape(rounded, self._shape)

    @property
    def uses_entropy_coder(self) -> bool:
        """Whether the rate is that of an entropy coder."""
        return self._prior_name != POWER_LAW

    def assign(self, value: Any) -> None:
        """Sets the weight, and the steps and scales that go with its standard deviation."""
        value = np.asarray(value, np.float32).reshape(self._shape)
        if not np.all(np.isfinite(value)):
            raise ValueError(f"{self.name} holds values that are not finite numbers.")
        latent = value.reshape(self.latent.shape)
        if self._transform == FOURIER:
            latent = fourier.basis(self._shape[:-2]).astype(np.float32) @ latent
        deviation = float(np.std(latent))
        step = self._initial_step * deviation if deviation else STEP_OF_CONSTANTS
        step = max(step, LEAST_BIAS_STEP) if len(self._shape) == 1 else step
        self.latent.assign(latent)
        self.log_steps.assign(np.full(self.log_steps.shape, math.log(step), np.float32))
        if self._prior_name == LOGISTIC:
            scale = math.log(max(0.5 * deviation / step, 0.5))
            self.density_variables[0].assign(np.full(self.log_steps.shape, scale, np.float32))

    def bits(self) -> tf.Tensor:
        """Returns the estimated bits of the weight: with noise, or the penalty of a power law."""
        scaled = self.latent / self.steps[:, None]
        if not self.uses_entropy_coder:
            return self._penalty.penalty(scaled)
        noisy = tf.transpose(scaled + tf.random.uniform(tf.shape(scaled), -0.5, 0.5))
        if self._prior_name == LOGISTIC:
            density = tfc.NoisyLogistic(loc=0.0, scale=tf.exp(self.density_variables[0]))
        else:
            density = self._density
        return tf.reduce_sum(density.log_prob(noisy)) / -math.log(2.0)

    def _rate_loss(self) -> tf.Tensor:
        return self._bit_cost * self.bits()

    def coded(self) -> CodedTensor:
        """Returns the integers and steps of the weight."""
        steps = self.steps.numpy()
        if not np.all(np.isfinite(self.latent)):
            raise ValueError(f"{self.name} holds values that are not finite numbers.")
        integers = checked_integers(np.rint(self.latent.numpy() / steps[:, None]), self.name)
        codes = nearest_codes(steps)
        one = np.zeros(1, np.int32)  # code of the step 1
        return CodedTensor(self._shape, integers, codes, one, self._transform)
