"""Models by name. A name, once published, never changes what it builds."""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf

from tfc_models.models.base import CompressionModel

_BUILDERS: dict[str, Callable[..., CompressionModel]] = {}


def register(name: str) -> Callable[[Callable[..., CompressionModel]], Any]:
    """Decorator that enters a model class under its name."""

    def enter(builder: Callable[..., CompressionModel]) -> Callable[..., CompressionModel]:
        if name in _BUILDERS:
            raise ValueError(f"{name} is registered already, and names never change meaning.")
        _BUILDERS[name] = builder
        # Keras then loads saved models without custom_objects.
        return tf.keras.saving.register_keras_serializable("tfc_models", name)(builder)

    return enter


def names() -> list[str]:
    """The names that `build` knows."""
    return sorted(_BUILDERS)


def build(name: str, **config: Any) -> CompressionModel:
    """A new model with random weights.

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
