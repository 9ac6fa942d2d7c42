"""Models by name. The meaning of a published name never changes."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable

import tensorflow as tf

from tfc_models.models.base import CompressionModel

_BUILDERS: dict[str, type[CompressionModel]] = {}
_STABLE: set[str] = set()


def register(name: str, stable: bool = True) -> Callable[[type[CompressionModel]], Any]:
    """Returns a decorator that enters a model class under a name.

    Instances get the name, and the arguments of their constructor as their `config`.

    Args:
        name: the name.
        stable: whether files of the model decode with all later versions. The tests decode a
            golden file of every stable model.
    """

    def enter(kind: type[CompressionModel]) -> type[CompressionModel]:
        if name in _BUILDERS:
            raise ValueError(f"{name} is registered already, and names never change meaning.")
        _BUILDERS[name] = kind
        if stable:
            _STABLE.add(name)
        kind.registered_name = name
        kind.__init__ = _with_config(kind.__init__)  # type: ignore[method-assign]
        # Keras then loads saved models without custom_objects.
        return tf.keras.saving.register_keras_serializable("tfc_models", name)(kind)

    return enter


def _with_config(init: Callable[..., None]) -> Callable[..., None]:
    """Returns a constructor that keeps its arguments, defaults included, as `_config`."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def bound(self: CompressionModel, *arguments: Any, **options: Any) -> None:
        if "_config" not in vars(self):  # Not in a constructor that a subclass calls.
            values = signature.bind(self, *arguments, **options)
            values.apply_defaults()
            # A plain dict would be wrapped for tracking, and show up in checkpoints.
            config = {k: v for k, v in values.arguments.items() if k != "self"}
            for key, parameter in signature.parameters.items():
                if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                    config.update(config.pop(key))
            object.__setattr__(self, "_config", tuple(config.items()))
        init(self, *arguments, **options)

    return bound


def names() -> list[str]:
    """Returns the names that `build` knows."""
    return sorted(_BUILDERS)


def stable_names() -> list[str]:
    """Returns the names of the models whose files decode with all later versions."""
    return sorted(_STABLE)


def build(name: str, **config: Any) -> CompressionModel:
    """Returns a new model with random weights.

    >>> model = build("mbt2018-mean", channels=128, latents=192, lmbda=0.01)
    """
    if name not in _BUILDERS:
        raise ValueError(f"there is no model {name!r}; the models are {', '.join(names())}.")
    for key in ("channels", "latents"):
        value = config.get(key, 1)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{key} is a whole number from 1 on; got {value!r}.")
    lmbda = config.get("lmbda")
    if lmbda is not None and not lmbda > 0.0:
        raise ValueError(f"lmbda is positive; got {lmbda!r}.")
    return _BUILDERS[name](**config)
