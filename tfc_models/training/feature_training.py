"""Training of networks with compressible features."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tfc_models.features import CompressibleFeatures
from tfc_models.training.feature_config import FeatureTraining
from tfc_models.training.feature_tasks import Task
from tfc_models.training.stopped import TrainingStopped

STEPS_AT_ONCE = 20
"""Steps per call of a graph, as small networks take little time."""
RAMP = 0.5
"""Fraction of a training over which the weight of the bits rises from zero."""
RELATIVE_STEP = 0.15
"""Initial quantization step, relative to the deviation of the first principal component."""


class FeatureNetwork:
    """Backbone, optional layer and head, and their training.

    The layer has the rate 1: the weight of the bits is an argument of the training, so that one
    graph serves a ladder of weights.
    """

    def __init__(self, config: FeatureTraining, task: Task, prior: str | None = None) -> None:
        self._config, self._task = config, task
        self.backbone, self.head = task.backbone(), task.head()
        self.layer: CompressibleFeatures | None = None
        if prior:
            self.layer = CompressibleFeatures(1.0, prior, quantization=config.quantization)
        parts = [self.backbone, *([self.layer] if self.layer else []), self.head]
        self._model = tf.keras.Sequential(parts)
        self._images, self._labels = (tf.constant(part) for part in task.training)
        self._model(self._images[:2])
        self._initial = [variable.numpy() for variable in self._model.variables]
        self._optimizer = tf.keras.optimizers.Adam(config.rate, global_clipnorm=config.clip_norm)
        self._optimizer.build(self._model.trainable_variables)
        self._run = tf.function(self._steps)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Returns the features of images, before the layer."""
        return self.backbone.predict(images, batch_size=500, verbose=0)

    def restart(self, seed: int) -> None:
        """Sets new random weights."""
        tf.keras.utils.set_random_seed(seed)
        backbone, head = self._task.backbone(), self._task.head()
        head.build(backbone.output_shape)
        _assign(self.backbone.variables, backbone.variables)
        _assign(self.head.variables, head.variables)

    def start_from(self, other: FeatureNetwork, features: np.ndarray) -> None:
        """Starts from a network without the layer, with its features in principal components.

        The function of the network remains the same, except for the quantization.

        Args:
            other: trained network.
            features: its features of the training set.
        """
        variances, vectors = np.linalg.eigh(np.cov(features.T.astype(np.float64)))
        step = max(RELATIVE_STEP * math.sqrt(max(variances[-1], 0.0)), 1e-9)
        rotation = (vectors[:, ::-1] / step).astype(np.float32)
        inverse = (vectors[:, ::-1].T * step).astype(np.float32)
        _assign(self._model.variables, self._initial)
        for own, source in ((self.backbone, other.backbone), (self.head, other.head)):
            _assign(own.variables, source.variables)
        for variable in self.backbone.layers[-1].variables:  # kernel and bias
            variable.assign(variable.numpy() @ rotation)
        kernel = self.head.variables[0]
        kernel.assign(inverse @ kernel.numpy())
        if self.layer:
            self.layer.initialize(features @ rotation)

    def train(self, steps: int, seed: int, weight: float = 0.0) -> None:
        """Trains with one schedule of the learning rate.

        Args:
            steps: number of steps.
            seed: of the order of the examples.
            weight: λ of the bits in the loss.
        """
        _assign(self._optimizer.variables, [np.zeros(v.shape) for v in self._optimizer.variables])
        rng = np.random.default_rng(seed)
        loss = tf.constant(0.0)
        for first in range(0, steps, STEPS_AT_ONCE):
            count = min(STEPS_AT_ONCE, steps - first)
            fractions = (first + np.arange(count) + 0.5) / steps
            rates = [self._config.learning_rates(fraction)["model"] for fraction in fractions]
            weights = weight * np.minimum(fractions / RAMP, 1.0)
            batches = rng.integers(0, len(self._labels), (count, self._config.batch))
            loss = self._run(
                tf.constant(batches),
                tf.constant(weights, tf.float32),
                tf.constant(rates, tf.float32),
            )
        if not math.isfinite(float(loss)):
            raise TrainingStopped(f"the loss is not finite: lower rate, now {self._config.rate:g}.")

    def _steps(self, batches: tf.Tensor, weights: tf.Tensor, rates: tf.Tensor) -> tf.Tensor:
        """Executes steps and returns the last loss."""
        variables, loss = self._model.trainable_variables, tf.constant(0.0)
        for i in tf.range(len(batches)):
            images, labels = (tf.gather(x, batches[i]) for x in (self._images, self._labels))
            with tf.GradientTape() as tape:
                logits = self._model(images, training=True)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                loss = tf.reduce_mean(losses) + weights[i] * sum(self._model.losses, 0.0)
            self._optimizer.learning_rate.assign(rates[i])
            gradients = tape.gradient(loss, variables)
            self._optimizer.apply_gradients(zip(gradients, variables))
        return loss


def _assign(variables: list[tf.Variable], values: list) -> None:
    for variable, value in zip(variables, values):
        variable.assign(tf.cast(value, variable.dtype))
