"""Compressors of small sources with one interface: transform codes and vector quantizers.

Each returns the bits, the squared error and the reconstruction of every sample, and codes samples
into bytes with the library's range coder.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc
import tensorflow_probability as tfp
from tensorflow_compression.python.ops import gen_ops

from tfc_models.layers.gain import LARGEST_RATE, Gain, level_weights

QUANTIZATIONS = ("noise", "straight-through", "soft", "universal")
"""Substitutes for rounding in training:

- `noise`: uniform noise, for the rate and for the synthesis (Ballé et al. 2017);
- `straight-through`: noise for the rate, rounding with a gradient of 1 for the synthesis;
- `soft`: noise after soft rounding of growing sharpness, and the conditional mean for the
  synthesis (Agustsson, Theis 2020);
- `universal`: as `noise`, and latents are coded with the same noise in encoder and decoder.
"""
SHARPEST = 6.0
CODER_BITS = 16
Losses = dict[str, tf.Tensor]


class Coded(NamedTuple):
    """Bits, squared error and reconstruction of every sample."""

    rate: tf.Tensor
    distortion: tf.Tensor
    reconstruction: tf.Tensor


class Compressor(tf.keras.Model, abc.ABC):
    """Base class of compressors that code each vector at minimal bits + lmbda · squared error.

    Args:
        lmbda: bits per unit of squared error, or the smallest and the largest of them; calls then
            select a value in between.
        mean: whether the error is the mean over the numbers of a vector, or their sum.
    """

    def __init__(self, lmbda: float | tuple[float, float], mean: bool, name: str) -> None:
        super().__init__(name=name)
        self.lmbdas = tuple(lmbda) if isinstance(lmbda, (tuple, list)) else (lmbda, lmbda)
        if len(self.lmbdas) != 2 or not 0.0 < self.lmbdas[0] <= self.lmbdas[1] < math.inf:
            raise ValueError(f"lmbda is above 0, or a range of such; got {lmbda}.")
        self.lmbda, self.mean = float(self.lmbdas[0]), mean

    @abc.abstractmethod
    def losses_of(self, samples: tf.Tensor, seed: tf.Tensor) -> Losses:
        """Returns the training loss (`loss`) with its parts."""

    @abc.abstractmethod
    def coded(self, samples: tf.Tensor, lmbda: float | None = None) -> Coded:
        """Returns the samples as coded, with the bits by their probabilities."""

    @abc.abstractmethod
    def symbols(self, samples: tf.Tensor, lmbda: float | None = None) -> tf.Tensor:
        """Returns the coded integers, samples × integers per sample."""

    @abc.abstractmethod
    def compress(self, samples: tf.Tensor, lmbda: float | None = None) -> bytes:
        """Returns the bytes of all samples."""

    @abc.abstractmethod
    def decompress(self, data: bytes, count: int, lmbda: float | None = None) -> tf.Tensor:
        """Returns the reconstruction of `count` samples from their bytes."""

    def rate(self, samples: tf.Tensor, lmbda: float | None = None) -> tf.Tensor:
        """Returns the bits of each sample."""
        return self.coded(samples, lmbda).rate

    def distortion(self, samples: tf.Tensor, lmbda: float | None = None) -> tf.Tensor:
        """Returns the squared error of each sample."""
        return self.coded(samples, lmbda).distortion

    def reconstruct(self, samples: tf.Tensor, lmbda: float | None = None) -> tf.Tensor:
        """Returns the reconstruction of each sample."""
        return self.coded(samples, lmbda).reconstruction

    def anneal(self, fraction: float) -> None:
        """Updates what depends on the fraction of training that is done."""

    def _squared_error(self, samples: tf.Tensor, reconstruction: tf.Tensor) -> tf.Tensor:
        squares = tf.math.squared_difference(samples, reconstruction)
        return tf.reduce_mean(squares, -1) if self.mean else tf.reduce_sum(squares, -1)


class _Tables:
    """Entropy models with coding tables by lambda, and the prior values that they were built from.

    Not tracked by Keras, as coding does not change variables or checkpoints.
    """

    def __init__(self) -> None:
        self.priors: list[bytes] = []
        self.models: dict[float, Any] = {}


class TransformCode(Compressor):
    """Transform code: y = g · analysis(x), rounded; x̂ = synthesis(ŷ / g); one prior per latent.

    Args:
        analysis: network that takes samples and the place of each lambda in the logarithmic range.
        synthesis: network that takes latents and the same places.
        latents: number of latents.
        lmbda: see the base class.
        levels: levels of lambda with learned gains g; 1: learned steps; 0: none.
        quantization: one of QUANTIZATIONS.
        mean: see the base class.
    """

    def __init__(
        self,
        analysis: Callable[..., tf.Tensor],
        synthesis: Callable[..., tf.Tensor],
        latents: int,
        lmbda: float | tuple[float, float],
        *,
        levels: int = 0,
        quantization: str = "noise",
        mean: bool = False,
        name: str = "transform_code",
    ) -> None:
        super().__init__(lmbda, mean, name)
        if quantization not in QUANTIZATIONS:
            known = ", ".join(QUANTIZATIONS)
            raise ValueError(f"quantization is one of {known}; got {quantization!r}.")
        if levels < 2 and self.lmbdas[0] != self.lmbdas[1]:
            raise ValueError("for a range of lambdas, gains need 2 levels or more.")
        self.analysis, self.synthesis, self.quantization = analysis, synthesis, quantization
        self.latents, self.levels = latents, levels
        self.gain = Gain(latents, levels, name="gain") if levels else None
        if self.gain and levels > 1:
            # At high rates, optimal steps are proportional to 1/√lambda.
            law = 0.25 * math.log(self.lmbdas[1] / self.lmbdas[0]) * tf.linspace(-1.0, 1.0, levels)
            self.gain.logarithm.assign(tf.tile(law[:, None], [1, latents]))
        self.density = tfc.DeepFactorized(batch_shape=[latents])
        self.sharpness = tf.Variable(SHARPEST, trainable=False, name="sharpness")
        self._kept = _Tables()

    def anneal(self, fraction: float) -> None:
        """Sharpens soft rounding over the first half of training."""
        self.sharpness.assign(SHARPEST * min(1.0, 2.0 * fraction))

    def _place(self, lmbda: tf.Tensor) -> tf.Tensor:
        """Returns the places of lambdas in their logarithmic range, 0 to 1."""
        low, high = (math.log(value) for value in self.lmbdas)
        return (tf.math.log(lmbda) - low) / ((high - low) or 1.0)

    def _one_place(self, lmbda: float | None) -> tf.Tensor:
        """Returns the place of one lambda for all samples."""
        lmbda = self.lmbda if lmbda is None else lmbda
        if not self.lmbdas[0] * 0.999 <= lmbda <= self.lmbdas[1] * 1.001:
            raise ValueError(f"lmbda is from {self.lmbdas[0]:g} to {self.lmbdas[1]:g}: {lmbda:g}.")
        return tf.clip_by_value(self._place(tf.constant([float(lmbda)])), 0.0, 1.0)

    def _gains(self, place: tf.Tensor) -> tuple[tf.Tensor | float, tf.Tensor | None]:
        """Returns gains, and the scale of the prior; for a range of lambdas both are equal."""
        if self.gain is None:
            return 1.0, None
        gains = self.gain.at(level_weights(place * LARGEST_RATE, self.levels))
        return gains, gains if self.levels > 1 else None

    def _prior(self, times: tf.Tensor | None, sharpness: Any = None) -> Any:
        base = self.density
        if times is not None:
            base = tfp.distributions.TransformedDistribution(base, tfp.bijectors.Scale(times))
        if sharpness is not None:
            base = tfc.SoftRoundAdapter(base, sharpness)
        return tfc.UniformNoiseAdapter(base)

    def losses_of(self, samples: tf.Tensor, seed: tf.Tensor) -> Losses:
        """Returns the training loss with its parts."""
        of_noise, of_lmbda = tf.unstack(tfp.random.split_seed(seed, n=2, salt="training"))
        place = tf.random.stateless_uniform([tf.shape(samples)[0]], of_lmbda)
        low, high = (math.log(value) for value in self.lmbdas)
        lmbda = tf.exp(low + (high - low) * place)
        gains, times = self._gains(place)
        y = self.analysis(samples, place[:, None]) * gains
        noise = tf.random.stateless_uniform(tf.shape(y), of_noise, -0.5, 0.5)
        sharpness = None
        if self.quantization == "soft":
            sharpness = self.sharpness
            noisy = tfc.soft_round(y, sharpness) + noise
            y_hat = tfc.soft_round_conditional_mean(noisy, sharpness)
        else:
            noisy = y_hat = y + noise
            if self.quantization == "straight-through":
                y_hat = y + tf.stop_gradient(tf.round(y) - y)
        nats = self._prior(times, sharpness).log_prob(noisy)
        rate = tf.reduce_sum(nats, -1) / -math.log(2.0)
        distortion = self._squared_error(samples, self.synthesis(y_hat / gains, place[:, None]))
        parts = {"rate": rate, "distortion": distortion, "loss": rate + lmbda * distortion}
        return {k: tf.reduce_mean(v) for k, v in parts.items()}

    def _latents(self, samples: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        everywhere = tf.broadcast_to(place[:, None], [tf.shape(samples)[0], 1])
        return self.analysis(samples, everywhere) * self._gains(place)[0]

    def _synthesized(self, y_hat: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        everywhere = tf.broadcast_to(place[:, None], [tf.shape(y_hat)[0], 1])
        return self.synthesis(y_hat / self._gains(place)[0], everywhere)

    def _entropy_model(self, place: tf.Tensor) -> Any:
        times = self._gains(place)[1]
        prior = self._prior(times if times is None else times[0])
        options = {"coding_rank": 2, "tail_mass": 2.0**-12, "bottleneck_dtype": tf.float32}
        if self.quantization == "universal":
            return tfc.UniversalBatchedEntropyModel(prior, **options)
        return tfc.ContinuousBatchedEntropyModel(prior, offset_heuristic=False, **options)

    def _coder(self, place: tf.Tensor) -> Any:
        """Returns an entropy model with tables, cached by lambda until the priors change."""
        of_prior = [*self.density.variables, *(self.gain.variables if self.gain else ())]
        priors, key = [v.numpy().tobytes() for v in of_prior], float(place[0])
        if priors != self._kept.priors:
            self._kept.priors, self._kept.models = priors, {}
        if key not in self._kept.models:
            model, offset = self._entropy_model(place), None
            if self.quantization == "universal":
                levels = tf.range(model._num_noise_levels, dtype=tf.float32)[:, None]
                offset = (levels + 1.0) / (model._num_noise_levels + 1.0) - 0.5
            # In a graph, because the search for the tails takes seconds eagerly.
            build = tf.function(
                lambda: model._build_tables(model.prior, CODER_BITS, offset), autograph=False
            )
            model._compression, model._stateless = True, False
            model._init_compression(*build.get_concrete_function()(), None)
            self._kept.models[key] = model
        return self._kept.models[key]

    def coded(self, samples: tf.Tensor, lmbda: float | None = None) -> Coded:
        """Returns the samples as coded, with the bits by their probabilities."""
        place = self._one_place(lmbda)
        y = self._latents(samples, place)
        model = self._entropy_model(place)
        # tfc's model with dither needs all samples in one coding unit.
        y_hat, _ = model(y, training=False)
        bits = tf.reduce_sum(model.prior.log_prob(y_hat), -1) / -math.log(2.0)
        reconstruction = self._synthesized(y_hat, place)
        return Coded(bits, self._squared_error(samples, reconstruction), reconstruction)

    def symbols(self, samples: tf.Tensor, lmbda: float | None = None) -> tf.Tensor:
        """Returns the coded integers; with dither, after its subtraction."""
        place = self._one_place(lmbda)
        y = self._latents(samples, place)
        if self.quantization == "universal":
            _, offset = self._entropy_model(place)._compute_indexes_and_offset(tf.shape(y)[:1])
            y -= offset
        return tf.cast(tf.round(y), tf.int32)

    def compress(self, samples: tf.Tensor, lmbda: float | None = None) -> bytes:
        """Returns the bytes of all samples."""
        place = self._one_place(lmbda)
        return self._coder(place).compress(self._latents(samples, place)).numpy()

    def decompress(self, data: bytes, count: int, lmbda: float | None = None) -> tf.Tensor:
        """Returns the reconstruction of `count` samples from their bytes."""
        place = self._one_place(lmbda)
        y_hat = self._coder(place).decompress(tf.constant(data), [count])
        return self._synthesized(y_hat, place)


class VectorQuantizer(Compressor):
    """Code vectors with probabilities; a sample becomes the vector of least bits + lmbda · error.

    Args:
        codebook: one vector per row.
        probabilities: probability of each vector; equal by default.
        lmbda: see the base class.
        mean: see the base class.
    """

    def __init__(
        self,
        codebook: np.ndarray | tf.Tensor,
        lmbda: float,
        probabilities: np.ndarray | None = None,
        mean: bool = False,
        name: str = "vector_quantizer",
    ) -> None:
        super().__init__(lmbda, mean, name)
        self.codebook = tf.Variable(codebook, dtype=tf.float32, name="codebook")
        count = self.codebook.shape[0]
        probabilities = np.full(count, 1.0 / count) if probabilities is None else probabilities
        self.logits = tf.Variable(np.log(probabilities), dtype=tf.float32, name="logits")

    def _bits(self) -> tf.Tensor:
        return tf.nn.log_softmax(self.logits) / -math.log(2.0)

    def symbols(self, samples: tf.Tensor, lmbda: float | None = None) -> tf.Tensor:
        """Returns the index of each sample's code vector."""
        return self._nearest(samples, self._checked(lmbda))[:, None]

    def _checked(self, lmbda: float | None) -> float:
        if lmbda not in (None, self.lmbda):
            raise ValueError(f"these code vectors are for a lmbda of {self.lmbda:g} alone.")
        return self.lmbda

    def _nearest(self, samples: tf.Tensor, lmbda: float) -> tf.Tensor:
        # |x|² is the same for all vectors.
        squares = tf.reduce_sum(tf.square(self.codebook), -1)
        squares -= 2.0 * tf.matmul(samples, self.codebook, transpose_b=True)
        if self.mean:
            squares /= self.codebook.shape[1]
        return tf.argmin(self._bits() + lmbda * squares, -1, tf.int32)

    def losses_of(self, samples: tf.Tensor, seed: tf.Tensor) -> Losses:
        """Returns the training loss; the choice of vectors has no gradient."""
        coded = self.coded(samples)
        parts = {"rate": coded.rate, "distortion": coded.distortion}
        parts["loss"] = coded.rate + self.lmbda * coded.distortion
        return {k: tf.reduce_mean(v) for k, v in parts.items()}

    def coded(self, samples: tf.Tensor, lmbda: float | None = None) -> Coded:
        """Returns the samples as coded, with the bits by their probabilities."""
        return self.coded_as(samples, self._nearest(samples, self._checked(lmbda)))

    def coded_as(self, samples: tf.Tensor, index: tf.Tensor) -> Coded:
        """Returns the samples as coded with given code vectors."""
        reconstruction = tf.gather(self.codebook, index)
        distortion = self._squared_error(samples, reconstruction)
        return Coded(tf.gather(self._bits(), index), distortion, reconstruction)

    def _table(self) -> tf.Tensor:
        # The coder needs two symbols or more; the last one is never used.
        probabilities = tf.concat([tf.nn.softmax(self.logits), [0.0]], 0)
        cdf = gen_ops.pmf_to_quantized_cdf(probabilities, precision=CODER_BITS)
        return tf.concat([[CODER_BITS], cdf], 0)

    def compress(self, samples: tf.Tensor, lmbda: float | None = None) -> bytes:
        """Returns the bytes of all samples."""
        index = self._nearest(samples, self._checked(lmbda))
        handle = gen_ops.create_range_encoder([], self._table())
        handle = gen_ops.entropy_encode_index(handle, tf.zeros_like(index), index)
        return gen_ops.entropy_encode_finalize(handle).numpy()

    def decompress(self, data: bytes, count: int, lmbda: float | None = None) -> tf.Tensor:
        """Returns the reconstruction of `count` samples from their bytes."""
        self._checked(lmbda)
        handle = gen_ops.create_range_decoder(tf.constant(data), self._table())
        first = tf.zeros([count], tf.int32)
        handle, index = gen_ops.entropy_decode_index(handle, first, [count], tf.int32)
        return tf.gather(self.codebook, index)
