"""Decoders of small sources that are trained by a critic, and what they reach.

The code of each source is fixed. A decoder minimizes distortion · γ + divergence, of which a
critic says what the second is; there is one for each γ, and one for all that is told β, the realism
asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.analysis import tradeoff
from tfc_models.analysis.tradeoff import Binary, Channel, Reached, Sign
from tfc_models.realism import (
    divergence_named,
)

HIDDEN = (32, 32)
CRITIC_RATE, DECODER_RATE, CRITIC_STEPS = 8e-3, 2e-3, 1
AVERAGED = 0.99
CHUNK, MEASURING = 2**16, 12345


class Task(NamedTuple):
    """A source with its code, as decoders see it.

    Attributes:
        name: one of TASKS.
        title: of plots.
        known: what theory says.
        perception: what it measures perception by.
        real: so many of X.
        coded: so many of Y, and of E[X|Y].
        values: all that X̂ may be, or none if it may be any number.
    """

    name: str
    title: str
    known: Channel | Sign | Binary
    perception: str
    real: Callable[[Sequence[int]], tf.Tensor]
    coded: Callable[[Sequence[int]], tuple[tf.Tensor, tf.Tensor]]
    values: tuple[float, ...] = ()


def channel(rate: float = 0.5) -> Task:
    """A normal source through normal noise."""
    known = Channel(rate)

    def coded(shape: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
        y = tf.random.normal(shape)  # Of variance 1, whatever the noise.
        return y, known.spread * y

    title = f"Normal, with noise: {rate:g} bit"
    return Task("channel", title, known, "W₂", tf.random.normal, coded)


def sign() -> Task:
    """A normal source's sign."""
    known = Sign()

    def coded(shape: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
        y = tf.sign(tf.random.uniform(shape, -1.0, 1.0))
        return y, known.level * y

    return Task("sign", "Normal, its sign: 1 bit", known, "W₂", tf.random.normal, coded)


def binary(probability: float = 0.3, least: float = 0.2) -> Task:
    """A source of zeros and ones."""
    known = Binary(probability, least)

    def drawn(shape: Sequence[int], ones: float) -> tf.Tensor:
        return tf.cast(tf.random.uniform(shape) < ones, tf.float32)

    def coded(shape: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
        y = drawn(shape, known.ones)
        return y, least + (1.0 - 2.0 * least) * y

    title = f"Zeros and {probability:.0%} ones: {known.rate:.2f} bit"
    real = lambda shape: drawn(shape, probability)  # noqa: E731
    return Task("binary", title, known, "total variation", real, coded, (0.0, 1.0))


TASKS: dict[str, Callable[..., Task]] = {"channel": channel, "sign": sign, "binary": binary}


def checked_gammas(gammas: Sequence[float]) -> list[float]:
    """From the largest, if they are a range of weights."""
    if len(set(gammas)) != len(gammas) or len(gammas) < 2:
        raise ValueError("gammas are two or more different numbers.")
    if not all(0.0 < gamma < math.inf for gamma in gammas):
        raise ValueError("gammas are above 0, and finite.")
    return sorted(gammas, reverse=True)


def gamma_of(beta: Any, gammas: Sequence[float]) -> Any:
    """The weight of distortion for realism β: from the largest at 0 down to the least at 1."""
    high, low = math.log(max(gammas)), math.log(min(gammas))
    return tf.exp(high + (low - high) * tf.convert_to_tensor(beta, tf.float32))


def beta_of(gamma: float, gammas: Sequence[float]) -> float:
    """The β that has this weight."""
    high, low = math.log(max(gammas)), math.log(min(gammas))
    return (high - math.log(gamma)) / (high - low)


class Networks(tf.Module):
    """So many perceptrons of one size, side by side: each has its own weights and inputs."""

    def __init__(self, count: int, inputs: int, seed: int) -> None:
        super().__init__()
        rng, widths = np.random.default_rng(seed), (inputs, *HIDDEN, 1)
        self.layers = []
        for before, after in zip(widths, widths[1:]):
            most = math.sqrt(6.0 / (before + after))
            kernel = rng.uniform(-most, most, [count, before, after])
            bias = np.zeros([count, 1, after])
            self.layers.append([tf.Variable(x, dtype=tf.float32) for x in (kernel, bias)])

    def __call__(self, *inputs: tf.Tensor) -> tf.Tensor:
        """Of inputs [count, samples] each."""
        x = tf.stack(inputs, -1)
        for i, (kernel, bias) in enumerate(self.layers):
            x = tf.matmul(x if i == 0 else tf.nn.silu(x), kernel) + bias
        return x[..., 0]


class Decoders:
    """Trained together: a decoder and a critic for each weight, or one of both for all.

    Args:
        task: what is decoded.
        divergence: one of DIVERGENCES.
        gammas: weights of the distortion.
        conditioned: whether one decoder is for all of them, and what is between.
        seed: of what the networks start with, and of what they see.
    """

    def __init__(
        self,
        task: Task,
        divergence: str,
        gammas: Sequence[float],
        conditioned: bool,
        seed: int = 0,
    ) -> None:
        tf.random.set_seed(seed)
        self.task, self.conditioned, self.gammas = task, conditioned, checked_gammas(gammas)
        self.divergence = divergence_named(divergence)
        self.count = 1 if conditioned else len(self.gammas)
        # Y, noise, and β; the critic sees no Y: it judges X̂'s distribution alone.
        self.decoder = Networks(self.count, 2 + conditioned, 10 * seed)
        self.critic = Networks(self.count, 1 + conditioned, 10 * seed + 5)
        self.progress = tf.Variable(0.0, trainable=False)
        self.averages = [tf.Variable(v, trainable=False) for v in self.decoder.trainable_variables]

    def _asked(self, samples: int) -> tuple[list[tf.Tensor], tf.Tensor]:
        """What tells networks β, if anything does, and γ."""
        if not self.conditioned:
            return [], tf.constant(self.gammas)[:, None]
        # A little beyond both ends, which otherwise would be edges, where networks do as they like.
        beta = tf.random.uniform([1, samples], -0.1, 1.1)
        return [2.0 * beta - 1.0], gamma_of(beta, self.gammas)

    def _decoded(
        self, y: tf.Tensor, asked: list[tf.Tensor]
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """What X̂ may be for each Y, and with what probabilities."""
        made = self.decoder(y, tf.random.normal(tf.shape(y)), *asked)
        if not self.task.values:
            return [made], [tf.ones_like(made)]
        one = tf.sigmoid(made)
        return [tf.fill(tf.shape(y), value) for value in self.task.values], [1.0 - one, one]

    def _costs(self, samples: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Of so many samples, what the decoder minimizes and the bound, by decoder."""
        asked, gamma = self._asked(samples)
        shape = [self.count, samples]
        y, mean = self.task.coded(shape)
        values, masses = self._decoded(y, asked)

        def judged(x: tf.Tensor) -> tf.Tensor:
            return self.critic(x, *asked)

        real = self.divergence.activation(judged(self.task.real(shape)))
        conjugate = self.divergence.conjugate
        bound = real - sum(m * conjugate(judged(x)) for x, m in zip(values, masses))
        distortion = sum(m * tf.square(x - mean) for x, m in zip(values, masses))
        if not self.task.values:
            # They begin with the largest γ, and come to their own half-way: who begins without an
            # eye on errors mixes up where noise leads, and does not find out again. (Probabilities
            # of values would begin as 0 and 1, from where no gradient leads away.)
            gamma = self.gammas[0] * (gamma / self.gammas[0]) ** self.progress
        # Over 1 + γ, which takes no side, steps are of one size for all γ.
        costs = (gamma * distortion + bound) / (1.0 + gamma), bound / (1.0 + gamma)
        return tuple(tf.reduce_sum(tf.reduce_mean(cost, axis=1)) for cost in costs)

    def train(self, steps: int, batch: int = 512) -> None:
        """So many steps of the decoders, with more of the critics; averages of weights are kept."""
        if steps < 1 or batch < 1:
            raise ValueError(f"steps and batch are 1 or more; got {steps} and {batch}.")
        falling = tf.keras.optimizers.schedules.CosineDecay
        decoding = tf.keras.optimizers.Adam(falling(DECODER_RATE, steps), beta_1=0.5)
        judging = tf.keras.optimizers.Adam(
            falling(CRITIC_RATE, steps * CRITIC_STEPS, alpha=0.1), beta_1=0.5
        )
        samples = batch * (len(self.gammas) if self.conditioned else 1)

        @tf.function
        def some(count: tf.Tensor) -> None:
            for step in tf.range(count):
                self.progress.assign(tf.minimum(2.0 * tf.cast(step / count, tf.float32), 1.0))
                for _ in range(CRITIC_STEPS):
                    with tf.GradientTape() as tape:
                        bound = -self._costs(samples)[1]
                    weights = self.critic.trainable_variables
                    judging.apply_gradients(zip(tape.gradient(bound, weights), weights))
                with tf.GradientTape() as tape:
                    cost = self._costs(samples)[0]
                weights = self.decoder.trainable_variables
                decoding.apply_gradients(zip(tape.gradient(cost, weights), weights))
                for average, weight in zip(self.averages, weights):
                    average.assign(AVERAGED * average + (1.0 - AVERAGED) * weight)

        for optimizer, networks in ((decoding, self.decoder), (judging, self.critic)):
            optimizer.build(networks.trainable_variables)
        some.get_concrete_function(tf.TensorSpec([], tf.int32))(tf.constant(steps))
        for average, weight in zip(self.averages, self.decoder.trainable_variables):
            weight.assign(average)
            if not np.all(np.isfinite(weight)):
                raise ValueError(f"{self.task.name}: the training came to what is not finite.")

    def reached(self, which: float, samples: int) -> Reached:
        """What a decoder reaches: the one of a place among gammas, or that for all at a β."""
        place = 0 if self.conditioned else int(which)
        beta = [2.0 * which - 1.0] * self.conditioned
        tf.random.set_seed(MEASURING)
        distortions, made = [], []
        for start in range(0, samples, CHUNK):
            y, mean = self.task.coded([self.count, min(CHUNK, samples - start)])
            values, masses = self._decoded(y, [tf.fill(tf.shape(y), b) for b in beta])
            distortion = sum(m * tf.square(x - mean) for x, m in zip(values, masses))
            distortions.append(distortion[place].numpy())
            made.append((masses[1] if self.task.values else values[0])[place].numpy())
        known, x = self.task.known, np.concatenate(made)
        # What X* leaves is known: only what is above it is measured.
        distortion = known.rest + float(np.concatenate(distortions).astype(np.float64).mean())
        if isinstance(known, Binary):
            return Reached(distortion, abs(known.probability - float(x.astype(np.float64).mean())))
        return Reached(distortion, tradeoff.wasserstein_to_normal(x))
