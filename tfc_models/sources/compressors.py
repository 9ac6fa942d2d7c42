"""Compressors of small sources, all behind one interface: transform codes and vector quantizers.

Each gives, of every sample, the bits that it takes, the squared error that it leaves and what it
becomes; and codes many samples into real bytes, with the library's range coder.
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
"""What stands for rounding in training:

- `noise`: uniform noise, for the rate and for the synthesis (Ballé et al. 2017);
- `straight-through`: noise for the rate, rounding with a gradient of 1 for the synthesis;
- `soft`: noise after soft rounding, whose sharpness grows while training goes on, and the mean of
  what was rounded for the synthesis (Agustsson, Theis 2020);
- `universal`: as `noise`; but then latents are coded with that noise, too, which encoder and
  decoder draw alike.
"""
SHARPEST = 6.0
CODER_BITS = 16
Losses = dict[str, tf.Tensor]


class Coded(NamedTuple):
    """Of every sample: its bits, its squared error, and what it becomes."""

    rate: tf.Tensor
    distortion: tf.Tensor
    reconstruction: tf.Tensor


class Compressor(tf.keras.Model, abc.ABC):
    """Codes vectors, each by itself, at bits + lmbda · squared error.

    Args:
        lmbda: what a unit of squared error is worth, in bits; or the least and the largest of
            these, between which it can be chosen for every call.
        mean: whether the error is the mean over a vector's numbers, or their sum.
    """

    def __init__(self, lmbda: float | tuple[float, float], mean: bool, name: str) -> None:
        super().__init__(name=name)
        self.lmbdas = tuple(lmbda) if isinstance(lmbda, (tuple, list)) else (lmbda, lmbda)
        if len(self.lmbdas) != 2 or not 0.0 < self.lmbdas[0] <= self.lmbdas[1] < math.inf:
            raise ValueError(f"lmbda is above 0, or a range of such; got {lmbda}.")
        self.lmbda, self.mean = float(self.lmbdas[0]), mean

    @abc.abstractmethod
    def losses_of(self, samples: tf.Tensor, seed: tf.Tensor) -> Losses:
        """What training minimizes (`loss`), with its parts."""

    @abc.abstractmethod
    def coded(self, samples: tf.Tensor, lmbda: float | None = None) -> Coded:
        """As coding leaves them, with the bits that their probabilities stand for."""

    @abc.abstractmethod
    def symbols(self, samples: tf.Tensor, lmbda: float | None = None) -> tf.Tensor:
        """The integers that are coded: samples × as many as there are of each."""

    @abc.abstractmethod
    def compress(self, samples: tf.Tensor, lmbda: float | None = None) -> bytes:
        """All samples, one behind another."""

    @abc.abstractmethod
    def decompress(self, data: bytes, count: int, lmbda: float | None = None) -> tf.Tensor:
        """What `count` samples have become, out of their bytes."""

    def rate(self, samples: tf.Tensor, lmbda: float | None = None) -> tf.Tensor:
        """Bits of each."""
        return self.coded(samples, lmbda).rate

    def distortion(self, samples: tf.Tensor, lmbda: float | None = None) -> tf.Tensor:
        """Squared error of each."""
        return self.coded(samples, lmbda).distortion

    def reconstruct(self, samples: tf.Tensor, lmbda: float | None = None) -> tf.Tensor:
        """What each becomes."""
        return self.coded(samples, lmbda).reconstruction

    def anneal(self, fraction: float) -> None:
        """What changes with the fraction of the training that is done."""

    def _squared_error(self, samples: tf.Tensor, reconstruction: tf.Tensor) -> tf.Tensor:
        squares = tf.math.squared_difference(samples, reconstruction)
        return tf.reduce_mean(squares, -1) if self.mean else tf.reduce_sum(squares, -1)


class _Tables:
    """Entropy models with tables by lambda, and the priors' values that they are of.

    No part of the code for Keras, whose variables and checkpoints do not change by coding.
    """

    def __init__(self) -> None:
        self.priors: list[bytes] = []
        self.models: dict[float, Any] = {}


class TransformCode(Compressor):
    """y = g · analysis(x), rounded; x̂ = synthesis(ŷ / g), each number of y under its own prior.

    Args:
        analysis: takes samples and what each's lambda is, from 0 to 1 of the logarithmic range.
        synthesis: takes latents and the same.
        latents: how many numbers the analysis gives.
        lmbda: see the base class.
        levels: of lambda, at which gains g are learned; 1: learned steps; 0: none.
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
        if levels > 1:
            # Where steps are fine, the best ones shrink with the root of lambda.
            law = 0.25 * math.log(self.lmbdas[1] / self.lmbdas[0]) * tf.linspace(-1.0, 1.0, levels)
            self.gain.logarithm.assign(tf.tile(law[:, None], [1, latents]))
        self.density = tfc.DeepFactorized(batch_shape=[latents])
        self.sharpness = tf.Variable(SHARPEST, trainable=False, name="sharpness")
        self._kept = _Tables()

    def anneal(self, fraction: float) -> None:
        """Soft rounding becomes sharper over the first half."""
        self.sharpness.assign(SHARPEST * min(1.0, 2.0 * fraction))

    def _place(self, lmbda: tf.Tensor) -> tf.Tensor:
        """Where lambdas lie in their range, 0 to 1, of its logarithm."""
        low, high = (math.log(value) for value in self.lmbdas)
        return (tf.math.log(lmbda) - low) / ((high - low) or 1.0)

    def _one_place(self, lmbda: float | None) -> tf.Tensor:
        """That of one lambda for all; the only one, where there is a single one."""
        lmbda = self.lmbda if lmbda is None else lmbda
        if not self.lmbdas[0] * 0.999 <= lmbda <= self.lmbdas[1] * 1.001:
            raise ValueError(f"lmbda is from {self.lmbdas[0]:g} to {self.lmbdas[1]:g}: {lmbda:g}.")
        return tf.clip_by_value(self._place(tf.constant([float(lmbda)])), 0.0, 1.0)

    def _gains(self, place: tf.Tensor) -> tuple[tf.Tensor | float, tf.Tensor | None]:
        """Gains; and, for a range of lambdas, the same again, which scale the prior as well."""
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
        """An entropy model with tables, built once for every lambda, as long as priors stay."""
        of_prior = [*self.density.variables, *(self.gain.variables if self.gain else ())]
        priors, key = [v.numpy().tobytes() for v in of_prior], float(place[0])
        if priors != self._kept.priors:
            self._kept.priors, self._kept.models = priors, {}
        if key not in self._kept.models:
            model, offset = self._entropy_model(place), None
            if self.quantization == "universal":
                levels = tf.range(model._num_noise_levels, dtype=tf.float32)[:, None]
                offset = (levels + 1.0) / (model._num_noise_levels + 1.0) - 0.5
            # As a graph: eagerly, the search for the tails takes seconds.
            build = tf.function(
                lambda: model._build_tables(model.prior, CODER_BITS, offset), autograph=False
            )
            model._compression, model._stateless = True, False
            model._init_compression(*build.get_concrete_function()(), None)
            self._kept.models[key] = model
        return self._kept.models[key]

    def coded(self, samples: tf.Tensor, lmbda: float | None = None) -> Coded:
        place = self._one_place(lmbda)
        y = self._latents(samples, place)
        model = self._entropy_model(place)
        # Of the tfc's models the one with dither needs all samples to be one unit.
        y_hat, _ = model(y, training=False)
        bits = tf.reduce_sum(model.prior.log_prob(y_hat), -1) / -math.log(2.0)
        reconstruction = self._synthesized(y_hat, place)
        return Coded(bits, self._squared_error(samples, reconstruction), reconstruction)

    def symbols(self, samples: tf.Tensor, lmbda: float | None = None) -> tf.Tensor:
        """With dither, what is left when it is taken away."""
        place = self._one_place(lmbda)
        y = self._latents(samples, place)
        if self.quantization == "universal":
            _, offset = self._entropy_model(place)._compute_indexes_and_offset(tf.shape(y)[:1])
            y -= offset
        return tf.cast(tf.round(y), tf.int32)

    def compress(self, samples: tf.Tensor, lmbda: float | None = None) -> bytes:
        place = self._one_place(lmbda)
        return self._coder(place).compress(self._latents(samples, place)).numpy()

    def decompress(self, data: bytes, count: int, lmbda: float | None = None) -> tf.Tensor:
        place = self._one_place(lmbda)
        y_hat = self._coder(place).decompress(tf.constant(data), [count])
        return self._synthesized(y_hat, place)


class VectorQuantizer(Compressor):
    """Code vectors with probabilities; a sample becomes that of least bits + lmbda · error.

    Args:
        codebook: vectors, one in each row.
        probabilities: of each; equal where none are given.
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
        """The code vector of each."""
        return self._nearest(samples, self._checked(lmbda))[:, None]

    def _checked(self, lmbda: float | None) -> float:
        if lmbda not in (None, self.lmbda):
            raise ValueError(f"these code vectors are for a lmbda of {self.lmbda:g} alone.")
        return self.lmbda

    def _nearest(self, samples: tf.Tensor, lmbda: float) -> tf.Tensor:
        # |x|² is the same for all of them.
        squares = tf.reduce_sum(tf.square(self.codebook), -1)
        squares -= 2.0 * tf.matmul(samples, self.codebook, transpose_b=True)
        if self.mean:
            squares /= self.codebook.shape[1]
        return tf.argmin(self._bits() + lmbda * squares, -1, tf.int32)

    def losses_of(self, samples: tf.Tensor, seed: tf.Tensor) -> Losses:
        """Of the vectors that are chosen alone: the choice has no gradient."""
        del seed
        coded = self.coded(samples)
        parts = {"rate": coded.rate, "distortion": coded.distortion}
        parts["loss"] = coded.rate + self.lmbda * coded.distortion
        return {k: tf.reduce_mean(v) for k, v in parts.items()}

    def coded(self, samples: tf.Tensor, lmbda: float | None = None) -> Coded:
        return self.coded_as(samples, self._nearest(samples, self._checked(lmbda)))

    def coded_as(self, samples: tf.Tensor, index: tf.Tensor) -> Coded:
        """As these code vectors, one for each sample."""
        reconstruction = tf.gather(self.codebook, index)
        distortion = self._squared_error(samples, reconstruction)
        return Coded(tf.gather(self._bits(), index), distortion, reconstruction)

    def _table(self) -> tf.Tensor:
        # The coder wants two symbols or more: the last one never comes.
        probabilities = tf.concat([tf.nn.softmax(self.logits), [0.0]], 0)
        cdf = gen_ops.pmf_to_quantized_cdf(probabilities, precision=CODER_BITS)
        return tf.concat([[CODER_BITS], cdf], 0)

    def compress(self, samples: tf.Tensor, lmbda: float | None = None) -> bytes:
        index = self._nearest(samples, self._checked(lmbda))
        handle = gen_ops.create_range_encoder([], self._table())
        handle = gen_ops.entropy_encode_index(handle, tf.zeros_like(index), index)
        return gen_ops.entropy_encode_finalize(handle).numpy()

    def decompress(self, data: bytes, count: int, lmbda: float | None = None) -> tf.Tensor:
        self._checked(lmbda)
        handle = gen_ops.create_range_decoder(tf.constant(data), self._table())
        first = tf.zeros([count], tf.int32)
        handle, index = gen_ops.entropy_decode_index(handle, first, [count], tf.int32)
        return tf.gather(self.codebook, index)
