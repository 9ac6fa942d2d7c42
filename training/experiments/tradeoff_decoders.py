"""Decoders of small sources that are trained with a critic, and their distortion and perception.

The code of each source is fixed. A decoder minimizes γ · distortion + divergence, and a critic
estimates the divergence. There is a decoder for each γ, and one for all γ that is conditioned on
the realism β.

The training loop is not `tfc_models.training.trainer.Trainer`: all of its steps are in a single
tf.function, because a step of these small networks takes far less time than a call from Python. The
decoders for all γ are trained side by side, without clipping or skipping that would couple them.
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
CRITIC_RATE, DECODER_RATE, CRITIC_STEPS = 8e-3, 2e-3, 1  # CRITIC_STEPS per step of the decoder
AVERAGE_DECAY = 0.99
CHUNK = 2**16  # samples measured at a time
MEASURING_SEED = 12345


class Task(NamedTuple):
    """A source with its code.

    Attributes:
        name: one of TASKS.
        title: of plots.
        theory: the theoretical trade-off.
        perception: name of the measure of perception.
        real: returns samples of X of a shape.
        coded: returns samples of Y of a shape, and E[X|Y].
        values: possible values of X̂; empty if X̂ is any real number.
    """

    name: str
    title: str
    theory: Channel | Sign | Binary
    perception: str
    real: Callable[[Sequence[int]], tf.Tensor]
    coded: Callable[[Sequence[int]], tuple[tf.Tensor, tf.Tensor]]
    values: tuple[float, ...] = ()


def channel(rate: float = 0.5) -> Task:
    """Returns the task of a normal source observed through Gaussian noise."""
    theory = Channel(rate)

    def coded(shape: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
        y = tf.random.normal(shape)  # Normalized to variance 1 for any noise.
        return y, theory.spread * y

    title = f"Normal, with noise: {rate:g} bit"
    return Task("channel", title, theory, "W₂", tf.random.normal, coded)


def sign() -> Task:
    """Returns the task of a normal source whose sign is coded."""
    theory = Sign()

    def coded(shape: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
        y = tf.sign(tf.random.uniform(shape, -1.0, 1.0))
        return y, theory.level * y

    return Task("sign", "Normal, its sign: 1 bit", theory, "W₂", tf.random.normal, coded)


def binary(probability: float = 0.3, least: float = 0.2) -> Task:
    """Returns the task of a binary source with a minimum distortion `least`."""
    theory = Binary(probability, least)

    def bernoulli(shape: Sequence[int], ones: float) -> tf.Tensor:
        return tf.cast(tf.random.uniform(shape) < ones, tf.float32)

    def real(shape: Sequence[int]) -> tf.Tensor:
        return bernoulli(shape, probability)

    def coded(shape: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
        y = bernoulli(shape, theory.ones)
        return y, least + (1.0 - 2.0 * least) * y

    title = f"Zeros and {probability:.0%} ones: {theory.rate:.2f} bit"
    return Task("binary", title, theory, "total variation", real, coded, (0.0, 1.0))


TASKS: dict[str, Callable[..., Task]] = {"channel": channel, "sign": sign, "binary": binary}


def checked_gammas(gammas: Sequence[float]) -> list[float]:
    """Returns weights of the distortion, largest first; raises ValueError for invalid ones."""
    if len(set(gammas)) != len(gammas) or len(gammas) < 2:
        raise ValueError("gammas must be two or more different numbers.")
    if not all(0.0 < gamma < math.inf for gamma in gammas):
        raise ValueError("gammas must be above 0 and finite.")
    return sorted(gammas, reverse=True)


def gamma_of(beta: Any, gammas: Sequence[float]) -> Any:
    """Returns the weight of the distortion for realism β: the largest at 0, the smallest at 1."""
    high, low = math.log(max(gammas)), math.log(min(gammas))
    return tf.exp(high + (low - high) * tf.convert_to_tensor(beta, tf.float32))


def beta_of(gamma: float, gammas: Sequence[float]) -> float:
    """Returns the realism β with this weight of the distortion."""
    high, low = math.log(max(gammas)), math.log(min(gammas))
    return (high - math.log(gamma)) / (high - low)


class Networks(tf.Module):
    """`count` independent perceptrons of equal size, evaluated in parallel."""

    def __init__(self, count: int, inputs: int, seed: int) -> None:
        super().__init__()
        rng, widths = np.random.default_rng(seed), (inputs, *HIDDEN, 1)
        self.layers = []
        for before, after in zip(widths, widths[1:]):
            limit = math.sqrt(6.0 / (before + after))
            kernel = rng.uniform(-limit, limit, [count, before, after])
            bias = np.zeros([count, 1, after])
            self.layers.append([tf.Variable(x, dtype=tf.float32) for x in (kernel, bias)])

    def __call__(self, *inputs: tf.Tensor) -> tf.Tensor:
        """Returns outputs [count, samples] for inputs of this shape."""
        x = tf.stack(inputs, -1)
        for i, (kernel, bias) in enumerate(self.layers):
            x = tf.matmul(x if i == 0 else tf.nn.silu(x), kernel) + bias
        return x[..., 0]


class Decoders:
    """A decoder and a critic for each weight, or one of both for all weights.

    Args:
        task: the source and its code.
        divergence: one of DIVERGENCES.
        gammas: weights of the distortion.
        conditioned: whether there is one decoder for all weights in their range.
        seed: of initial weights and samples.
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
        # Inputs are Y, noise, and β. The critic does not read Y, as perception depends only on the
        # distribution of X̂.
        self.decoder = Networks(self.count, 2 + conditioned, 10 * seed)
        self.critic = Networks(self.count, 1 + conditioned, 10 * seed + 5)
        self.progress = tf.Variable(0.0, trainable=False)
        self.averages = [tf.Variable(v, trainable=False) for v in self.decoder.trainable_variables]

    def _conditions(self, samples: int) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Returns the networks' inputs for β (none without conditioning) and the weights γ."""
        if not self.conditioned:
            return [], tf.constant(self.gammas)[:, None]
        # Slightly beyond both ends, because networks are inaccurate at the edges of their inputs.
        beta = tf.random.uniform([1, samples], -0.1, 1.1)
        return [2.0 * beta - 1.0], gamma_of(beta, self.gammas)

    def _decoded(
        self, y: tf.Tensor, conditions: list[tf.Tensor]
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns possible values of X̂ for each Y, and their probabilities."""
        outputs = self.decoder(y, tf.random.normal(tf.shape(y)), *conditions)
        if not self.task.values:
            return [outputs], [tf.ones_like(outputs)]
        one = tf.sigmoid(outputs)
        return [tf.fill(tf.shape(y), value) for value in self.task.values], [1.0 - one, one]

    def _costs(self, samples: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the decoders' cost and the bound on the divergence, summed over decoders."""
        conditions, gamma = self._conditions(samples)
        shape = [self.count, samples]
        y, mean = self.task.coded(shape)
        values, masses = self._decoded(y, conditions)

        def criticize(x: tf.Tensor) -> tf.Tensor:
            return self.critic(x, *conditions)

        real = self.divergence.activation(criticize(self.task.real(shape)))
        conjugate = self.divergence.conjugate
        bound = real - sum(m * conjugate(criticize(x)) for x, m in zip(values, masses))
        distortion = sum(m * tf.square(x - mean) for x, m in zip(values, masses))
        if not self.task.values:
            # Training starts with the largest γ and reaches each decoder's γ after half of the
            # steps. Without a weight on the distortion at the start, a decoder may find a wrong
            # mapping from noise to X̂ and keep it. (Probabilities would saturate at 0 and 1, where
            # gradients vanish.)
            gamma = self.gammas[0] * (gamma / self.gammas[0]) ** self.progress
        # Division by 1 + γ gives steps of equal size for all γ without changing the optimum.
        costs = (gamma * distortion + bound) / (1.0 + gamma), bound / (1.0 + gamma)
        return tuple(tf.reduce_sum(tf.reduce_mean(cost, axis=1)) for cost in costs)

    def train(self, steps: int, batch: int = 512) -> None:
        """Trains decoders and critics in alternate steps; sets decoders to their averaged weights.

        Args:
            steps: of the decoders; critics take CRITIC_STEPS times as many.
            batch: samples per step and weight.
        """
        if steps < 1 or batch < 1:
            raise ValueError(f"steps and batch must be 1 or more; got {steps} and {batch}.")
        schedule = tf.keras.optimizers.schedules.CosineDecay
        decoder_optimizer = tf.keras.optimizers.Adam(schedule(DECODER_RATE, steps), beta_1=0.5)
        critic_optimizer = tf.keras.optimizers.Adam(
            schedule(CRITIC_RATE, steps * CRITIC_STEPS, alpha=0.1), beta_1=0.5
        )
        samples = batch * (len(self.gammas) if self.conditioned else 1)

        @tf.function
        def take_steps(count: tf.Tensor) -> None:
            for step in tf.range(count):
                self.progress.assign(tf.minimum(2.0 * tf.cast(step / count, tf.float32), 1.0))
                for _ in range(CRITIC_STEPS):
                    with tf.GradientTape() as tape:
                        bound = -self._costs(samples)[1]
                    weights = self.critic.trainable_variables
                    critic_optimizer.apply_gradients(zip(tape.gradient(bound, weights), weights))
                with tf.GradientTape() as tape:
                    cost = self._costs(samples)[0]
                weights = self.decoder.trainable_variables
                decoder_optimizer.apply_gradients(zip(tape.gradient(cost, weights), weights))
                for average, weight in zip(self.averages, weights):
                    average.assign(AVERAGE_DECAY * average + (1.0 - AVERAGE_DECAY) * weight)

        decoder_optimizer.build(self.decoder.trainable_variables)
        critic_optimizer.build(self.critic.trainable_variables)
        take_steps.get_concrete_function(tf.TensorSpec([], tf.int32))(tf.constant(steps))
        for average, weight in zip(self.averages, self.decoder.trainable_variables):
            weight.assign(average)
            if not np.all(np.isfinite(weight)):
                raise ValueError(f"{self.task.name}: training diverged: weights are not finite.")

    def measure(self, which: float, samples: int) -> Reached:
        """Returns the distortion and perception of a decoder.

        Args:
            which: index of the decoder's γ; β for the conditioned decoder.
            samples: number of samples.
        """
        index = 0 if self.conditioned else int(which)
        beta = [2.0 * which - 1.0] * self.conditioned
        tf.random.set_seed(MEASURING_SEED)
        distortions, outputs = [], []
        for start in range(0, samples, CHUNK):
            y, mean = self.task.coded([self.count, min(CHUNK, samples - start)])
            values, masses = self._decoded(y, [tf.fill(tf.shape(y), b) for b in beta])
            distortion = sum(m * tf.square(x - mean) for x, m in zip(values, masses))
            distortions.append(distortion[index].numpy())
            outputs.append((masses[1] if self.task.values else values[0])[index].numpy())
        theory, x = self.task.theory, np.concatenate(outputs)
        # The distortion of E[X|Y] is known; only the excess over it is measured.
        distortion = theory.rest + float(np.concatenate(distortions).astype(np.float64).mean())
        if isinstance(theory, Binary):
            return Reached(distortion, abs(theory.probability - float(x.astype(np.float64).mean())))
        return Reached(distortion, tradeoff.wasserstein_to_normal(x))
