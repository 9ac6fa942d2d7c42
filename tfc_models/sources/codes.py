"""Codes for small sources: linear and nonlinear transforms, and vector quantizers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfc_models.sources.compressors import TransformCode, VectorQuantizer

ACTIVATIONS = {"softplus": tf.nn.softplus, "relu": tf.nn.relu, "leaky_relu": tf.nn.leaky_relu}
LEVELS = 5  # levels of lambda with gains, for codes of a range
CONDITION = 16  # inputs of a network that encode lambda
LLOYD_CHUNK = 2**16


class Affine(tf.keras.layers.Layer):
    """Affine map x ↦ x W + b from given initial values; independent of lambda."""

    def __init__(
        self, matrix: np.ndarray, shift: np.ndarray | None = None, trained: bool = True
    ) -> None:
        super().__init__(trainable=trained)
        shift = np.zeros(matrix.shape[1]) if shift is None else shift
        self.matrix = tf.Variable(matrix, trained, dtype=tf.float32, name="matrix")
        self.shift = tf.Variable(shift, trained, dtype=tf.float32, name="shift")

    def call(self, vectors: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """Returns the map of vectors."""
        return tf.matmul(vectors, self.matrix) + self.shift


class Perceptron(tf.keras.layers.Layer):
    """Hidden layers and a linear one; `conditioned` ones are modulated by lambda."""

    def __init__(
        self, hidden: Sequence[int], outputs: int, activation: str, conditioned: bool = False
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is one of {', '.join(ACTIVATIONS)}; got {activation!r}.")
        self.activation, dense = ACTIVATIONS[activation], tf.keras.layers.Dense
        self.hidden = [dense(units) for units in hidden]
        self.last = dense(outputs)
        self.condition = dense(CONDITION, tf.nn.relu) if conditioned else None
        # Zeros: independent of lambda at first.
        self.modulations = [
            dense(2 * units, kernel_initializer="zeros") for units in hidden if conditioned
        ]

    def call(self, vectors: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """Returns the outputs for vectors and the place of lambda in its range."""
        condition = None if self.condition is None else self.condition(place)
        for i, layer in enumerate(self.hidden):
            vectors = layer(vectors)
            if condition is not None:
                scale, shift = tf.split(self.modulations[i](condition), 2, axis=-1)
                vectors = vectors * (1.0 + scale) + shift
            vectors = self.activation(vectors)
        return self.last(vectors)


def linear(samples: np.ndarray, latents: int, lmbda: float, mean: bool = False) -> TransformCode:
    """Returns learned affine transforms, a quantizer with learned steps and a factorized prior.

    Initial values are the Karhunen–Loève transform of the samples, with steps for high rates.
    """
    return _orthogonal(samples, latents, lmbda, mean, trained=True)


def klt(samples: np.ndarray, latents: int, lmbda: float, mean: bool = False) -> TransformCode:
    """Returns the Karhunen–Loève transform of the samples; only steps and priors are learned."""
    return _orthogonal(samples, latents, lmbda, mean, trained=False)


def _orthogonal(
    samples: np.ndarray, latents: int, lmbda: float, mean: bool, trained: bool
) -> TransformCode:
    samples = np.asarray(samples, np.float64)
    size = samples.shape[1]
    if not 1 <= latents <= size:
        raise ValueError(
            f"a linear transform of {size} numbers has 1 to {size} latents; got {latents}."
        )
    middle = samples.mean(0)
    vectors = np.linalg.eigh(np.cov(samples.T))[1][:, ::-1][:, :latents]
    code = TransformCode(
        Affine(vectors, -middle @ vectors, trained),
        Affine(vectors.T, middle, trained),
        *(latents, lmbda),
        levels=1,
        mean=mean,
        name="linear" if trained else "klt",
    )
    assert code.gain is not None  # Because levels is 1.
    # At high rates, the error of a step is step²/12; one bit less costs 2 ln 2 times that.
    step = math.sqrt(6.0 * (size if mean else 1) / (lmbda * math.log(2.0)))
    code.gain.logarithm.assign(tf.fill([1, latents], -math.log(step)))
    return code


def nonlinear(
    dimensions: int,
    latents: int,
    lmbda: float | tuple[float, float],
    *,
    hidden: Sequence[int] = (100, 100),
    activation: str = "softplus",
    quantization: str = "soft",
    conditioned: bool = False,
    mean: bool = False,
) -> TransformCode:
    """Returns networks as analysis and synthesis. For a range of lambdas, latents have gains.

    Args:
        dimensions: numbers per sample.
        latents: numbers per code.
        lmbda: one value, or a range.
        hidden: widths of the analysis' hidden layers; the synthesis has them in reverse order.
        activation: one of ACTIVATIONS.
        quantization: see TransformCode.
        conditioned: whether lambda also modulates the networks.
        mean: see Compressor.
    """
    ranged = isinstance(lmbda, (tuple, list)) and lmbda[0] != lmbda[-1]
    if conditioned and not ranged:
        raise ValueError("conditioned networks need a range of lambdas.")
    return TransformCode(
        Perceptron(hidden, latents, activation, conditioned),
        Perceptron(tuple(hidden)[::-1], dimensions, activation, conditioned),
        *(latents, lmbda),
        levels=LEVELS if ranged else 0,
        quantization=quantization,
        mean=mean,
        name="nonlinear",
    )


def vector_quantizer(
    samples: np.ndarray, size: int, lmbda: float, mean: bool = False, seed: int = 0
) -> VectorQuantizer:
    """Returns a code whose vectors are random samples of equal probability, to be trained."""
    return VectorQuantizer(_some(np.asarray(samples), size, seed), lmbda, mean=mean)


def lloyd(
    samples: np.ndarray,
    size: int,
    lmbda: float,
    mean: bool = False,
    seed: int = 0,
    rounds: int = 1000,
    tolerance: float = 1e-7,
) -> VectorQuantizer:
    """Returns an entropy-constrained vector quantizer (Chou, Lookabaugh, Gray 1989).

    In turn, every sample is assigned to the vector of least bits + lmbda · error, and every vector
    becomes the mean of its samples, with their share as its probability. Vectors without samples
    are dropped. The algorithm stops after `rounds`, or when a round reduces the cost by less than
    `tolerance`.
    """
    if rounds < 1:
        raise ValueError(f"rounds are 1 or more; got {rounds}.")
    samples = np.asarray(samples, np.float32)
    codebook, before = _some(samples, size, seed), math.inf
    probabilities = np.full(len(codebook), 1.0 / len(codebook))
    quantizer = VectorQuantizer(codebook, lmbda, probabilities, mean)
    for _ in range(rounds):
        count, total, cost = np.zeros(len(codebook)), np.zeros(codebook.shape), 0.0
        for start in range(0, len(samples), LLOYD_CHUNK):
            chunk = samples[start : start + LLOYD_CHUNK]
            index = quantizer.symbols(chunk)[:, 0].numpy()
            count += np.bincount(index, minlength=len(codebook))
            np.add.at(total, index, chunk)
            coded = quantizer.coded_as(chunk, index)
            cost += float(tf.reduce_sum(coded.rate + lmbda * coded.distortion))
        used = count > 0
        codebook, probabilities = total[used] / count[used, None], count[used] / len(samples)
        quantizer = VectorQuantizer(codebook, lmbda, probabilities, mean)
        if cost > before * (1.0 - tolerance):
            break
        before = cost
    return quantizer


def _some(samples: np.ndarray, size: int, seed: int) -> np.ndarray:
    if not 1 <= size <= len(samples):
        raise ValueError(f"a codebook's size is 1 to {len(samples)}, the samples; got {size}.")
    return samples[np.random.default_rng(seed).choice(len(samples), size, replace=False)]
