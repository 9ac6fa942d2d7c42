"""Base class of the layers that transforms and entropy coders consist of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf


class CompressionLayer(tf.keras.layers.Layer):
    """Base class of the layers in a transform or an entropy coder.

    A subclass implements `call` and those of the following that apply to it:

    - `state` and `assign_state`: read and set the learned values by name. Values do not depend
      on how the layer parameterizes them.
    - `freeze`: folds parameterizations for inference. A frozen layer does not train.
    - `filters`: the number of output channels; None if it equals that of the input.
    - `takes_rate`: whether `call` takes rows of `level_weights` as its second argument.
    - `parameter_group`: the learning-rate group of its variables; None selects that of the
      enclosing network.
    - `sublayers`: the layers inside. The defaults of all methods apply to each of them.
    """

    filters: int | None = None
    takes_rate = False
    parameter_group: str | None = None
    _frozen = False
    _multiply_in_float32 = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Layers compute in the dtype of their input.
        super().__init__(*arguments, **{"autocast": False, **options})

    @property
    def sublayers(self) -> Sequence[CompressionLayer]:
        """Layers inside this one, with unique names."""
        return ()

    @property
    def multiply_in_float32(self) -> bool:
        """Whether convolutions multiply in float32 (see `multiply`)."""
        return self._multiply_in_float32

    @multiply_in_float32.setter
    def multiply_in_float32(self, value: bool) -> None:
        self._multiply_in_float32 = value
        for layer in self.sublayers:
            layer.multiply_in_float32 = value

    @property
    def frozen(self) -> bool:
        """Whether `freeze` was called."""
        return self._frozen

    def freeze(self) -> None:
        """Folds parameterizations for inference and stops training. Idempotent."""
        for layer in self.sublayers:
            layer.freeze()
        self._frozen = True
        self.trainable = False

    def state(self) -> dict[str, Any]:
        """Returns the learned values by name."""
        return {f"{la.name}/{k}": v for la in self.sublayers for k, v in la.state().items()}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the values that `state` returned."""
        for layer in self.sublayers:
            layer.assign_state(part_of(state, f"{layer.name}/"))

    def variable_groups(self, default: str) -> dict[Any, str]:
        """Returns the learning-rate group of each trainable variable, by its reference."""
        group = self.parameter_group or default
        groups = {v.ref(): group for v in self.trainable_variables}
        for layer in self.sublayers:
            groups.update(layer.variable_groups(group))
        return groups

    def save_own_variables(self, store: Any) -> None:
        """Saves nothing once frozen: the model then stores the frozen values itself."""
        if not self.frozen:
            super().save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        """Loads the variables that `save_own_variables` saved."""
        if not self.frozen:
            super().load_own_variables(store)


class Parameters(CompressionLayer):
    """Registers variables that belong to no layer with Keras, which saves and trains them."""

    def __init__(self, variables: Iterable[tf.Variable], group: str, name: str) -> None:
        super().__init__(name=name)
        self.parameters = list(variables)
        self.parameter_group = group
        self.built = True


def part_of(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Returns the values whose names start with a prefix, keyed by the rest of their names."""
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}


def check_state(layer: CompressionLayer, owner: str) -> None:
    """Raises TypeError if variables of a built layer are not part of its `state`."""
    inside = {v.ref() for sublayer in layer.sublayers for v in sublayer.variables}
    if type(layer).state is CompressionLayer.state and any(
        v.ref() not in inside for v in layer.variables
    ):
        raise TypeError(
            f"{owner}: {type(layer).__name__} {layer.name} has variables of its own; implement "
            "state and assign_state, or they are lost when the model is saved."
        )
    for sublayer in layer.sublayers:
        check_state(sublayer, owner)


def check_layers(layers: Sequence[Any], owner: str) -> None:
    """Raises an error if layers do not follow the contract, or share a name."""
    for layer in layers:
        if not isinstance(layer, CompressionLayer):
            raise TypeError(
                f"{owner}: {type(layer).__name__} is not a tfc_models.layers.CompressionLayer; "
                "use a layer of tfc_models.layers, or subclass CompressionLayer and implement "
                "state and assign_state."
            )
    names = [layer.name for layer in layers]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{owner}: needs layers with unique names; got {', '.join(names)}.")
