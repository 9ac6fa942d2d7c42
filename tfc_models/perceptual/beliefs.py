"""Distributions q(z|x) per position and band, and models that encode images as them.

Bhardwaj, Fischer, Ballé, Chinen, "An Unsupervised Information-Theoretic Perceptual Quality Metric"
(NeurIPS 2020). `Pim` is the published metric, `PimBands` a smaller one with the same objective.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from tfc_models.remote import read_weights, write_weights

SEED = (11, 2020)
LOG_TAU = math.log(2.0 * math.pi)
# Metrics by the format number of their weights files. Earlier releases called pim-bands pim.
METRIC_OF_FORMAT = {1: "pim-bands", 2: "pim-bands", 3: "pim"}


class Belief(NamedTuple):
    """Gaussian mixtures of variance 1, one per position.

    Attributes:
        means: N, height, width, components, dimensions.
        logits: N, height, width, components.
    """

    means: tf.Tensor
    logits: tf.Tensor

    def log_density(self, z: tf.Tensor) -> tf.Tensor:
        """Returns the log density of z (…, dimensions) at every position."""
        squares = tf.reduce_sum(tf.square(z[..., None, :] - self.means), axis=-1)
        parts = tf.nn.log_softmax(self.logits) - 0.5 * squares
        dimensions = tf.cast(tf.shape(z)[-1], tf.float32)
        return tf.reduce_logsumexp(parts, axis=-1) - 0.5 * LOG_TAU * dimensions

    def mean(self) -> tf.Tensor:
        """Returns the mean of the mixture: N, height, width, dimensions."""
        weights = tf.nn.softmax(self.logits)[..., None]
        return tf.reduce_sum(weights * self.means, axis=-2)


class BeliefModel(tf.keras.Model):
    """Encoders of the bands of a pyramid, trained with the IXYZ bound.

    Subclasses define the networks. `settings` is a frozen dataclass that builds an equal model. Its
    field `by_band` selects a bound per band or one for all.
    """

    FORMAT = 0
    settings: Any
    band_count: int

    def features(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Returns the feature maps of each band, finest first."""
        raise NotImplementedError

    def marginal(self, features: list[tf.Tensor]) -> list[Belief]:
        """Returns q(z|x), the distributions of the marginal encoder, per band."""
        raise NotImplementedError

    def joint(self, first: list[tf.Tensor], second: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the means of p(z|x, y) from the joint encoder, per band."""
        raise NotImplementedError

    def distance(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """Returns the distance of each pair of NHWC images, sRGB 0 to 255."""
        raise NotImplementedError

    def summary(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the mean of z over positions, one row per image, for distances of sets."""
        means = [belief.mean() for belief in self.marginal(self.features(images))]
        return tf.concat([tf.reduce_mean(z, axis=(1, 2)) for z in means], axis=-1)

    def bound(self, x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the IXYZ bound in nats per pair: information of z that x and y share.

        It is E log q(z|x) q(z|y) / (p̂(z) p(z|x, y)) with z from p(z|x, y). p̂(z) is the mean of
        p(z|x, y) over the batch. Log densities are averaged over positions, and then over bands.
        With `by_band`, each band has its own p̂, and the bound is the mean of the bands' bounds.
        """
        first, second = self.features(x), self.features(y)
        means = self.joint(first, second)
        terms: list[tf.Tensor] = []
        crossed: list[tf.Tensor] = []
        for band, beliefs in enumerate(zip(self.marginal(first), self.marginal(second))):
            mean = means[band]
            noise = tf.random.stateless_normal(
                tf.shape(mean), seed + tf.constant([0, band], seed.dtype)
            )
            z = mean + noise
            alone = sum(belief.log_density(z) for belief in beliefs)
            own = -0.5 * tf.reduce_sum(tf.square(noise) + LOG_TAU, axis=-1)
            terms.append(tf.reduce_mean(alone - own, axis=(1, 2)))
            crossed.append(_crossed(z, mean))
        # log p̂(z): each pair's z under the mean of all pairs' densities.
        densities = tf.stack(crossed)
        if not self.settings.by_band:
            densities = tf.reduce_mean(densities, axis=0, keepdims=True)
        marginals = tf.reduce_logsumexp(densities, axis=2)
        pairs = tf.cast(tf.shape(x)[0], tf.float32)
        marginal = tf.reduce_mean(marginals, axis=0) - tf.math.log(pairs)
        return tf.add_n(terms) / len(terms) - marginal

    def networks(self) -> dict[str, tf.keras.layers.Layer]:
        """Returns the networks by the names of their values in files."""
        raise NotImplementedError

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns the variables by network and number."""
        return {
            f"{name}/{i}": variable
            for name, network in self.networks().items()
            for i, variable in enumerate(network.variables)
        }

    def _stored(self, variable: tf.Variable) -> np.ndarray:
        """Returns values as stored in files."""
        return variable.numpy().astype(np.float16)

    def save_npz(self, path: str | os.PathLike[str]) -> None:
        """Writes configuration and values. The write is atomic."""
        meta = {"format": self.FORMAT, "pim": dataclasses.asdict(self.settings)}
        values = {name: self._stored(v) for name, v in self.named_variables().items()}
        write_weights(pathlib.Path(path), {"__meta__": np.array(json.dumps(meta)), **values})


Model = TypeVar("Model", bound=BeliefModel)


def load_model(
    source: str | os.PathLike[str], metric: str, build: Callable[[dict[str, Any]], Model]
) -> Model:
    """Returns the model of a weights file; `build` creates one from the settings in it."""
    arrays = read_weights(source)
    try:
        meta = json.loads(str(arrays.pop("__meta__")))
        number, settings = meta["format"], meta["pim"]
        if number not in METRIC_OF_FORMAT:
            raise ValueError(f"of format {number}")
        actual = METRIC_OF_FORMAT[number]
        if actual == metric:
            model = build(settings)
            for name, variable in model.named_variables().items():
                variable.assign(arrays[name].astype(np.float32))
            return model
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{source} is not a file of {metric} weights: {error}.") from None
    raise ValueError(f"{source} holds weights of {actual}, not of {metric}: use it as {actual}.")


def _crossed(z: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
    """Returns the log densities of pair i's z under pair k's Gaussian, averaged over positions."""
    count, dimensions = tf.shape(z)[0], means.shape[-1]
    places = tf.cast(tf.reduce_prod(tf.shape(z)[1:3]), tf.float32)
    z, means = tf.reshape(z, [count, -1]), tf.reshape(means, [count, -1])
    squares = (
        tf.reduce_sum(tf.square(z), axis=1)[:, None]
        + tf.reduce_sum(tf.square(means), axis=1)[None, :]
        - 2.0 * tf.matmul(z, means, transpose_b=True)
    )
    return -0.5 * (squares / places + LOG_TAU * dimensions)


def sampled_divergence(p: Belief, q: Belief, samples: int, salt: int = 0) -> tf.Tensor:
    """Returns a Monte Carlo estimate of KL(p‖q) + KL(q‖p) per position; 0 if p equals q.

    Both directions use the same samples, seeded by `salt`. The estimate is therefore symmetric and
    reproducible, and exact for single Gaussians. It may be negative if p and q are nearly equal.
    """
    total = 0.0
    sides = tf.shape(p.logits)[1:3]
    for sample in range(samples):
        # Normal and uniform samples with the same seed are dependent.
        seeds = [(SEED[0] + 2 * sample + i, SEED[1] + salt) for i in range(2)]
        shape = tf.concat([[1], sides, p.means.shape[-1:]], 0)
        noise = tf.random.stateless_normal(shape, seeds[0])
        uniform = tf.random.stateless_uniform(tf.concat([[1], sides, [1]], 0), seeds[1])
        for own, other in ((p, q), (q, p)):
            z, log_weight = _drawn(own, noise, uniform)
            ratio = own.log_density(z) - other.log_density(z)
            # The choice of a component passes no gradient to the logits; this term does.
            score = log_weight - tf.stop_gradient(log_weight)
            total += ratio + tf.stop_gradient(ratio) * score
    return total / samples


def _drawn(belief: Belief, noise: tf.Tensor, uniform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns a sample per position, and the log weight of its component."""
    limits = tf.cumsum(tf.nn.softmax(belief.logits), axis=-1)[..., :-1]
    index = tf.reduce_sum(tf.cast(uniform > limits, tf.int32), axis=-1)
    chosen = tf.one_hot(index, belief.means.shape[-2])
    mean = tf.reduce_sum(chosen[..., None] * belief.means, axis=-2)
    return mean + noise, tf.reduce_sum(chosen * tf.nn.log_softmax(belief.logits), axis=-1)
