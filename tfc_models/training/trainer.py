"""One training step, and everything that a checkpoint holds."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfc_models import models
from tfc_models.models.distortion import parsed, prepare
from tfc_models.training.config import Config, RunConfig
from tfc_models.training.linear_start import start_from
from tfc_models.zoo import files

Losses = dict[str, tf.Tensor]


class Trainer:
    """A model, its optimizers and the moving average of its weights.

    Every kind of variable learns at a rate of its own. The gradients of a step whose loss is
    not a number, or many times the running mean, are not used: one such step can undo minutes
    of training.

    Make it in the scope of a `tf.distribute` strategy to train on several devices: a loss
    is divided by the number of replicas and gradients are summed, so a step is the same as
    one of a single device on the whole batch.
    """

    def __init__(self, model: models.CompressionModel, config: Config) -> None:
        prepare(parsed(model.distortion))
        trained = [group for group, rate in config.rates.items() if rate]
        self._build(model, config, model.variable_groups(), trained)

    def _build(
        self,
        model: Any,
        config: RunConfig,
        of: list[str],
        trained: list[str],
        critic: tf.keras.Model | None = None,
    ) -> None:
        """What trains a model whose variables are `of` these kinds, some of them `trained`."""
        self.model, self.config = model, config
        self.strategy = tf.distribute.get_strategy()
        self.variables: list[tf.Variable] = []
        self.groups: dict[str, list[tf.Variable]] = {}
        for variable, kind in zip(model.trainable_variables, of):
            if kind in trained:
                self.variables.append(variable)
                self.groups.setdefault(kind, []).append(variable)
        if critic is not None:
            self.groups["critic"] = critic.trainable_variables
        self.optimizers = {kind: _optimizer(config) for kind in self.groups}
        for kind, optimizer in self.optimizers.items():
            optimizer.build(self.groups[kind])
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
        """Of all runs together."""
        return int(self.step.numpy())

    @property
    def seconds_spent(self) -> float:
        """By all runs together."""
        return float(self.seconds.numpy())

    def start(self, source: str) -> None:
        """Sets the weights that training begins with: of a file, or fitted to `source`."""
        if self.config.start == "linear":
            kept = start_from(self.model, source, self.config)
            logging.info("the linear start keeps %.4f of the pictures' variance", kept)
        elif self.config.start != "random":
            adopt(self.model, files.read(pathlib.Path(self.config.start)).state)
        self.start_average()

    def start_average(self) -> None:
        """Lets the moving average begin at the weights as they are."""
        for average, variable in zip(self.average, self.variables):
            average.assign(variable)

    def train(self, batch: tf.Tensor, rates: dict[str, float]) -> Losses:
        """One step at the given rates of learning, by kind of variable."""
        return self._compiled(batch, tf.constant([rates[k] for k in self.groups], tf.float32))

    def train_step(self, batch: tf.Tensor, rates: tf.Tensor) -> Losses:
        """As `train`, to be traced, with the rates in the order of `groups`."""
        for i, optimizer in enumerate(self.optimizers.values()):
            optimizer.learning_rate.assign(rates[i])
        limit = self.config.spike * self.running_loss
        limit = tf.where(self.running_loss > 0.0, limit, tf.float32.max)
        losses = self.strategy.run(self._replica_step, (batch, limit))
        losses = {k: self._mean(v) for k, v in losses.items()}
        loss, running = losses["loss"], self.running_loss
        seen = 0.98 * running + 0.02 * tf.minimum(loss, 2.0 * running)
        seen = tf.where(running > 0.0, seen, loss)
        running.assign(tf.where(tf.math.is_finite(seen), seen, running))
        self.step.assign_add(1)
        step = tf.cast(self.step, tf.float32)
        decay = tf.minimum(self.config.average, step / (10.0 + step))
        for average, variable in zip(self.average, self.variables):
            average.assign_sub((1.0 - decay) * (average - variable))
        return losses

    def _mean(self, value: Any) -> tf.Tensor:
        return self.strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)

    def _replica_step(self, batch: tf.Tensor, limit: tf.Tensor) -> Losses:
        with tf.GradientTape() as tape:
            losses = self._losses_of(batch)
        return {**losses, **self._update(tape, losses["loss"], limit, list(self.groups))}

    def _update(
        self, tape: tf.GradientTape, loss: tf.Tensor, limit: tf.Tensor, kinds: list[str]
    ) -> Losses:
        """One step of the variables of some kinds, if the loss is usable."""
        context = tf.distribute.get_replica_context()
        replicas = self.strategy.num_replicas_in_sync
        variables = [v for kind in kinds for v in self.groups[kind]]
        with tape:
            loss = loss / replicas
        gradients = tape.gradient(loss, variables)
        if replicas > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            loss = context.all_reduce(tf.distribute.ReduceOp.SUM, loss)
        norm = tf.linalg.global_norm(gradients)
        good = tf.math.is_finite(norm) & (loss < limit)
        factor = tf.where(good, tf.minimum(1.0, self.config.clip_norm / norm), 0.0)
        # Without gradients Adam makes one small step more in the direction that it had.
        gradients = iter([tf.math.multiply_no_nan(g, factor) for g in gradients])
        for kind in kinds:
            pairs = [(next(gradients), v) for v in self.groups[kind]]
            self.optimizers[kind].apply_gradients(pairs, skip_gradients_aggregation=True)
        return {"norm": norm, "skipped": 1.0 - tf.cast(good, tf.float32)}

    def after_step(self, losses: dict[str, float]) -> None:
        """What is to be said of a step's losses; here nothing."""

    def before_step(self, fraction: float) -> None:
        """What changes in the model with the fraction of the budget that is spent."""
        self.model.coder.anneal(fraction)

    def _losses_of(self, batch: tf.Tensor) -> Losses:
        """Of a batch, by name; `loss` is what is minimized."""
        return self.model.losses_of(batch, training=True)

    def is_finite(self) -> bool:
        """Whether weights and averages are numbers."""
        trained = [v for group in self.groups.values() for v in group]
        values = [*trained, *self.average]
        return all(bool(tf.reduce_all(tf.math.is_finite(v))) for v in values)

    def with_average(self, action: Any) -> Any:
        """Calls `action` while the model has the averaged weights."""
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
    """Keras' Adam, with TensorFlow's kernel for it: one pass over a variable, not ten."""

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """See the base class."""
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


def adopt(model: models.CompressionModel, state: dict[str, np.ndarray]) -> None:
    """Gives a model the weights of another, that may have fewer layers and inputs.

    What has the same name is taken; where a kernel of ours has further inputs, they begin at
    zero, so that the model starts as the other one; what the other has not begins at random.
    """
    ours = {k: np.asarray(v) for k, v in model.state().items()}
    known = {k: v for k, v in state.items() if k in ours}
    if not known:
        raise ValueError(f"the weights to start from have nothing in common with {model.name}.")
    for name, value in known.items():
        shape = ours[name].shape
        if name.endswith("/kernel") and value.shape[3] == shape[3] and value.shape[2] < shape[2]:
            further = [(0, 0), (0, 0), (0, shape[2] - value.shape[2]), (0, 0)]
            known[name] = np.pad(value, further)
        elif value.shape != shape:
            raise ValueError(f"the weights to start from have a {name} of {value.shape}: {shape}.")
    model.assign_state({**ours, **known})
