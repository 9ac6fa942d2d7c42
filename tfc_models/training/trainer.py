"""Training step, optimizers, moving average of the weights, and checkpoint contents."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import tensorflow as tf
from absl import logging

from tfc_models import models
from tfc_models.models.distortion import parsed, prepare
from tfc_models.training.config import Config, RunConfig
from tfc_models.training.linear_start import start_from
from tfc_models.zoo import files

Losses = dict[str, tf.Tensor]
Result = TypeVar("Result")


class Trainer:
    """A model with its optimizers and the moving average of its weights.

    Each group of variables has its own learning rate. If the loss or the norm of the
    gradient is not finite, or the loss is many times its running mean, gradients are set to zero,
    as one such step can undo minutes of training. Adam then moves the weights by its momentum.

    Construct it in the scope of a `tf.distribute` strategy to train on several devices. The loss
    is divided by the number of replicas and gradients are summed, so that a step equals one of a
    single device on the whole batch.

    Attributes:
        model: the model.
        config: settings of the run.
        variables: trained variables of the model.
        groups: trained variables by group, including those of a critic.
        average: moving averages of `variables`.
        checkpoint: everything needed to resume.
    """

    config: RunConfig

    def __init__(self, model: models.CompressionModel, config: Config) -> None:
        prepare(parsed(model.distortion))
        trained = [group for group, rate in config.rates.items() if rate]
        self._build(model, config, model.variable_groups(), trained)

    def _build(
        self,
        model: Any,
        config: RunConfig,
        variable_groups: Sequence[str],
        trained_groups: Sequence[str],
        critic: tf.keras.Model | None = None,
    ) -> None:
        """Creates optimizers, weight averages and the checkpoint.

        Args:
            model: the model.
            config: settings of the run.
            variable_groups: group of each of the model's trainable variables.
            trained_groups: groups to train.
            critic: trained as a group of its own, without a moving average.
        """
        self.model, self.config = model, config
        self.strategy = tf.distribute.get_strategy()
        self.variables: list[tf.Variable] = []
        self.groups: dict[str, list[tf.Variable]] = {}
        for variable, group in zip(model.trainable_variables, variable_groups):
            if group in trained_groups:
                self.variables.append(variable)
                self.groups.setdefault(group, []).append(variable)
        if critic is not None:
            self.groups["critic"] = critic.trainable_variables
        self.optimizers = {group: _optimizer(config) for group in self.groups}
        for group, optimizer in self.optimizers.items():
            optimizer.build(self.groups[group])
        self.average = [tf.Variable(v, trainable=False) for v in self.variables]
        self.running_loss = tf.Variable(0.0, trainable=False)
        self.step = tf.Variable(0, trainable=False, dtype=tf.int64)
        self.seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        self.checkpoint = tf.train.Checkpoint(
            model=model,
            optimizers=self.optimizers,
            average=self.average,
            running_loss=self.running_loss,
            step=self.step,
            seconds=self.seconds,
            **({} if critic is None else {"critic": critic}),
        )
        self._compiled = tf.function(self.train_step, autograph=False)

    @property
    def steps_taken(self) -> int:
        """Number of steps, including those before the run was resumed."""
        return int(self.step.numpy())

    @property
    def seconds_spent(self) -> float:
        """Training time in seconds, including the time before the run was resumed."""
        return float(self.seconds.numpy())

    def start(self, source: str) -> None:
        """Initializes the weights by `config.start`: fitted to `source`, random, or from a file."""
        config = cast(Config, self.config)  # Trainers for other configs override this method.
        if config.start == "linear":
            kept = start_from(self.model, source, config)
            logging.info("linear initialization keeps %.4f of the variance of the images", kept)
        elif config.start != "random":
            initialize_weights(self.model, files.read(pathlib.Path(config.start)).state)
        self.reset_average()

    def reset_average(self) -> None:
        """Sets the moving average to the current weights."""
        for average, variable in zip(self.average, self.variables):
            average.assign(variable)

    def train(self, batch: Any, rates: dict[str, float]) -> Losses:
        """Takes one step with the given learning rates by group."""
        return self._compiled(batch, tf.constant([rates[k] for k in self.groups], tf.float32))

    def train_step(self, batch: Any, rates: tf.Tensor) -> Losses:
        """Takes one step, like `train`; for tracing. `rates` are in the order of `groups`."""
        for i, optimizer in enumerate(self.optimizers.values()):
            optimizer.learning_rate.assign(rates[i])
        limit = self.config.spike * self.running_loss
        limit = tf.where(self.running_loss > 0.0, limit, tf.float32.max)
        losses = self.strategy.run(self._replica_step, (batch, limit))
        losses = {k: self._mean(v) for k, v in losses.items()}
        loss, running = losses["loss"], self.running_loss
        updated = 0.98 * running + 0.02 * tf.minimum(loss, 2.0 * running)
        updated = tf.where(running > 0.0, updated, loss)
        running.assign(tf.where(tf.math.is_finite(updated), updated, running))
        self.step.assign_add(1)
        # tf.train.ExponentialMovingAverage is not used. Its decay starts with (1 + n) / (10 + n)
        # instead of n / (10 + n), which would change the results of resumed runs.
        step = tf.cast(self.step, tf.float32)
        decay = tf.minimum(self.config.average, step / (10.0 + step))
        for average, variable in zip(self.average, self.variables):
            average.assign_sub((1.0 - decay) * (average - variable))
        return losses

    def _mean(self, value: Any) -> tf.Tensor:
        return self.strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)

    def _replica_step(self, batch: Any, limit: tf.Tensor) -> Losses:
        with tf.GradientTape() as tape:
            losses = self._losses(batch)
        return {**losses, **self._update(tape, losses["loss"], limit, list(self.groups))}

    def _update(
        self, tape: tf.GradientTape, loss: tf.Tensor, limit: tf.Tensor, groups: list[str]
    ) -> Losses:
        """Updates the variables of `groups` if the loss is finite and below the limit."""
        context = tf.distribute.get_replica_context()
        replicas = self.strategy.num_replicas_in_sync
        variables = [v for group in groups for v in self.groups[group]]
        with tape:
            loss = loss / replicas
        gradients = tape.gradient(loss, variables)
        if replicas > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            loss = context.all_reduce(tf.distribute.ReduceOp.SUM, loss)
        norm = tf.linalg.global_norm(gradients)
        usable = tf.math.is_finite(norm) & (loss < limit)
        factor = tf.where(usable, tf.minimum(1.0, self.config.clip_norm / norm), 0.0)
        # With zero gradients, Adam takes one more small step in its previous direction.
        scaled = iter([tf.math.multiply_no_nan(g, factor) for g in gradients])
        for group in groups:
            pairs = [(next(scaled), v) for v in self.groups[group]]
            self.optimizers[group].apply_gradients(pairs, skip_gradients_aggregation=True)
        return {"norm": norm, "skipped": 1.0 - tf.cast(usable, tf.float32)}

    def after_step(self, losses: dict[str, float]) -> None:
        """Hook for subclasses, called with the losses of each step. Does nothing by default."""

    def before_step(self, fraction: float) -> None:
        """Anneals the quantization; `fraction` is the fraction of the budget that is used."""
        self.model.coder.anneal(fraction)

    def _losses(self, batch: Any) -> Losses:
        """Returns the losses of a batch by name; "loss" is minimized."""
        return self.model.losses_of(batch, training=True)

    def is_finite(self) -> bool:
        """Returns whether all trained variables and moving averages are finite."""
        trained = [v for group in self.groups.values() for v in group]
        values = [*trained, *self.average]
        return all(bool(tf.reduce_all(tf.math.is_finite(v))) for v in values)

    def with_average(self, action: Callable[[], Result]) -> Result:
        """Returns the result of `action`, called while the model has the averaged weights."""
        current = [tf.identity(v) for v in self.variables]
        for variable, average in zip(self.variables, self.average):
            variable.assign(average)
        try:
            return action()
        finally:
            for variable, value in zip(self.variables, current):
                variable.assign(value)

    def save_weights(self, path: pathlib.Path) -> None:
        """Writes the averaged weights as a weights file."""
        self.with_average(lambda: files.save(self.model, path))


def _optimizer(config: RunConfig) -> tf.keras.optimizers.Optimizer:
    if config.optimizer == "sgd":
        return tf.keras.optimizers.SGD()
    return Adam(epsilon=1e-8)


class Adam(tf.keras.optimizers.Adam):
    """Keras' Adam with TensorFlow's fused kernel: one pass over a variable instead of ten."""

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Updates a variable with its gradient."""
        slot = self._index_dict[self._var_key(variable)]
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[slot].handle,
            v=self._velocities[slot].handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(self.learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def initialize_weights(model: models.CompressionModel, state: dict[str, np.ndarray]) -> None:
    """Initializes a model with the weights of another that may have fewer layers and inputs.

    Weights are matched by name. Where a kernel of `model` has additional inputs, their weights
    start at zero, so that the model starts as the other one. Layers missing from `state` keep
    their random weights.

    Raises:
        ValueError: no names match, or the shapes of a weight differ otherwise.
    """
    initial = {k: np.asarray(v) for k, v in model.state().items()}
    matching = {k: v for k, v in state.items() if k in initial}
    if not matching:
        raise ValueError(f"the weights to start from have nothing in common with {model.name}.")
    for name, value in matching.items():
        shape = initial[name].shape
        if name.endswith("/kernel") and value.shape[3] == shape[3] and value.shape[2] < shape[2]:
            padding = [(0, 0), (0, 0), (0, shape[2] - value.shape[2]), (0, 0)]
            matching[name] = np.pad(value, padding)
        elif value.shape != shape:
            raise ValueError(
                f"the weights to start from have a {name} of shape {value.shape}; "
                f"{model.name} has {shape}."
            )
    model.assign_state({**initial, **matching})
