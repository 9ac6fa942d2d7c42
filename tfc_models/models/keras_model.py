"""Integration of compression models with Keras: training steps, saving, cloning."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.models.stored import digest

Losses = dict[str, tf.Tensor]


class FrozenState(tf.train.experimental.PythonState):
    """The state of a frozen model as an entry of a TensorFlow checkpoint.

    Coding tables have shapes that only freezing determines, so a checkpoint cannot restore them
    into variables of a model that is not frozen yet. Restoring this entry freezes the model.
    """

    def __init__(self, model: KerasModel) -> None:
        self._model = model

    def serialize(self) -> bytes:
        """Returns the state as the bytes of an npz file; empty before freezing."""
        if not self._model.frozen:
            return b""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **self._model.state())
        return buffer.getvalue()

    def deserialize(self, value: bytes) -> None:
        """Freezes the model with a state that `serialize` returned."""
        if not value:
            # Before any variable is restored: those of layers would not fit the folded kernels.
            self._model.require_unfrozen("take other weights")
            return
        with np.load(io.BytesIO(value), allow_pickle=False) as arrays:
            self._model.restore_frozen(dict(arrays))


class KerasModel(tf.keras.Model):
    """Keras model with a rate–distortion loss that can be frozen for coding.

    `fit`, `evaluate` and callbacks work as for other Keras models. Data is `x`, `(x,)`, `(x, y)`
    or `(x, y, w)`, where x is a batch of images and w weights the examples. y is ignored: the
    target of a reconstruction is x.

    All of Keras' and TensorFlow's formats save and restore a model before and after `freeze`.
    The weights of a frozen model are its `state`, coding tables included. A model built from the
    configuration of a frozen one becomes frozen when it receives such weights.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self._frozen_names: tuple[str, ...] = ()
        self.frozen_state = FrozenState(self)

    @property
    def frozen(self) -> bool:
        """Whether the model is ready to code, and no longer trains."""
        raise NotImplementedError

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Returns the learned values by name, and the coding tables once frozen."""
        raise NotImplementedError

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the learned values that `state` returned."""
        raise NotImplementedError

    def freeze(self, state: dict[str, Any] | None = None) -> None:
        """Makes the model ready to code."""
        raise NotImplementedError

    def example_losses(self, images: tf.Tensor, training: bool) -> Losses:
        """Returns the loss and its parts for each example."""
        raise NotImplementedError

    def losses_of(self, images: tf.Tensor, training: bool, **options: Any) -> Losses:
        """Returns the mean loss of a batch and the means of its parts."""
        losses = self.example_losses(images, training, **options)
        return {name: tf.reduce_mean(values) for name, values in losses.items()}

    def restore_frozen(self, state: dict[str, Any]) -> None:
        """Sets the state of a frozen model and freezes this one."""
        if not self.frozen or digest(state) != digest(self.state()):
            self.assign_state(state)
            self.freeze(state)

    def require_unfrozen(self, verb: str) -> None:
        """Raises RuntimeError if the model is frozen."""
        if self.frozen:
            raise RuntimeError(
                f"a frozen model does not {verb}: files name its digest. Build another with "
                "models.build; zoo.files.save and zoo.build_model keep a frozen one."
            )

    # Training

    def compile(self, *arguments: Any, **options: Any) -> None:
        """As `tf.keras.Model.compile`, with running means of the loss and of its parts."""
        self._create_means()
        super().compile(*arguments, **options)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as the saved model was."""
        self.compile(**tf.keras.saving.deserialize_keras_object(config))
        if hasattr(self.optimizer, "build"):  # Legacy optimizers build themselves.
            self.optimizer.build(self.trainable_variables)

    # Untracked: running means belong to an epoch and are no weights.
    @tf.__internal__.tracking.no_automatic_dependency_tracking
    def _create_means(self) -> None:
        self._means = {name: tf.keras.metrics.Mean(name) for name in self.loss_names}

    @property
    def loss_names(self) -> tuple[str, ...]:
        """The names of `example_losses`."""
        raise NotImplementedError

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Running means that Keras resets at the start of every epoch, and compiled metrics."""
        return [*getattr(self, "_means", {}).values(), *super().metrics]

    def make_train_function(self, force: bool = False) -> Any:
        """As `tf.keras.Model.make_train_function`; refused once frozen."""
        self.require_unfrozen("train")
        return super().make_train_function(force)

    def train_step(self, data: Any) -> Losses:
        """Runs one step of `fit`."""
        images, _, weights = tf.keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            losses = self.example_losses(images, training=True)
            loss = tf.reduce_mean(_weighted(losses["loss"], weights))
            # Gradients are summed over replicas.
            loss /= tf.distribute.get_strategy().num_replicas_in_sync
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return self._updated_means(losses, weights)

    def test_step(self, data: Any) -> Losses:
        """Runs one step of `evaluate`, with latents quantized as in coding."""
        images, _, weights = tf.keras.utils.unpack_x_y_sample_weight(data)
        return self._updated_means(self.example_losses(images, training=False), weights)

    def _updated_means(self, losses: Losses, weights: tf.Tensor | None) -> Losses:
        if not hasattr(self, "_means"):
            self._create_means()
        weights = None if weights is None else tf.reshape(weights, [-1])
        for name, values in losses.items():
            self._means[name].update_state(values, weights)
        return {name: self._means[name].result() for name in losses}

    # Saving

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments and, once frozen, the names of the state."""
        config = dict(self.config)
        if names := sorted(self.state()) if self.frozen else self._frozen_names:
            config["frozen"] = list(names)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> KerasModel:
        """Builds a model with random weights from the result of `get_config`."""
        names = config.get("frozen", ())
        model = cls(**{k: v for k, v in config.items() if k != "frozen"})
        model._frozen_names = tuple(names)
        return model

    def get_weights(self) -> list[np.ndarray]:
        """Returns the values of the variables; once frozen, of the state in order of its names."""
        if self.frozen:
            state = self.state()
            return [np.asarray(state[name]) for name in sorted(state)]
        return super().get_weights()

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Sets the values that `get_weights` returned."""
        self.require_unfrozen("take other weights")
        if self._frozen_names and len(weights) == len(self._frozen_names):
            self.restore_frozen(dict(zip(self._frozen_names, weights)))
        else:
            super().set_weights(weights)

    def save_own_variables(self, store: Any) -> None:
        """Saves a frozen model's state; before freezing, layers save their variables."""
        if not self.frozen:
            super().save_own_variables(store)
            return
        for name, value in self.state().items():
            store[name.replace("/", ":")] = np.asarray(value)

    def load_own_variables(self, store: Any) -> None:
        """Loads the values that `save_own_variables` saved."""
        names = list(store.keys())
        if any(":" in name for name in names):
            self.restore_frozen({n.replace(":", "/"): np.asarray(store[n]) for n in names})
        else:
            super().load_own_variables(store)

    def save(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """As `tf.keras.Model.save`; a frozen model as .keras alone."""
        if not str(filepath).endswith(".keras"):
            if self.frozen:
                raise ValueError(
                    f"{filepath}: a frozen model is saved with a name that ends in .keras; "
                    "Codec(model).save writes a SavedModel with compress and decompress."
                )
        else:
            # ModelCheckpoint of Keras 2.14 passes options of another format, and Keras refuses.
            options.pop("options", None)
        super().save(filepath, *arguments, **options)

    def save_weights(self, filepath: Any, *arguments: Any, **options: Any) -> Any:
        """As `tf.keras.Model.save_weights`; the legacy HDF5 format holds no frozen model."""
        path = str(filepath)
        legacy = path.endswith((".h5", ".hdf5", ".keras")) and not path.endswith(".weights.h5")
        if self.frozen and (legacy or options.get("save_format") == "h5"):
            raise ValueError(
                f"{path}: a frozen model is not saved as legacy HDF5 weights; use a name that "
                "ends in .weights.h5, or model.save with .keras."
            )
        return super().save_weights(filepath, *arguments, **options)

    def load_weights(self, *arguments: Any, **options: Any) -> Any:
        """As `tf.keras.Model.load_weights`; refused once frozen."""
        self.require_unfrozen("take other weights")
        return super().load_weights(*arguments, **options)


def _weighted(values: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    return values if weights is None else values * tf.cast(tf.reshape(weights, [-1]), values.dtype)
