"""Conversion of Keras models to compressible ones and back, and their files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfc_models.weights.layers import COMPRESSIBLE, CompressibleLayer
from tfc_models.weights.rounded_weight import FACTORIZED, RoundedWeight
from tfc_models.weights.rounding import rounded_tensor
from tfc_models.weights.weight_file import ELIAS_GAMMA, RANGE, Tensor, WeightFile, decode, encode

MODEL_KIND = "keras"
KEPT_TYPES = (tf.keras.layers.BatchNormalization, tf.keras.layers.LayerNormalization)
"""Layers whose weights are stored as float16."""


def compressible(
    model: tf.keras.Model,
    rate: float = 1.0,
    *,
    prior: str = FACTORIZED,
    step: float = 1.0 / 16.0,
    keep: Sequence[str] = (),
) -> tf.keras.Model:
    """Returns a copy of a model with compressible layers, which trains with `fit`.

    The copy has the weights of the model. The rate is a loss of its layers: `rate` times the mean
    bits of a weight. Compile the copy as the model.

    Args:
        model: Sequential or functional model that is built.
        rate: weight of the rate against the loss of the task.
        prior: see `RoundedWeight`.
        step: initial step as a share of each weight's standard deviation.
        keep: names of layers whose weights are stored as float16.
    """
    _check_convertible(model)
    if not 0.0 <= rate < math.inf:
        raise ValueError(f"rate must be 0 or more; got {rate}.")
    if not 0.0 < step < math.inf:
        raise ValueError(f"step must be above 0; got {step}.")
    layers = dict(_layers(model))
    for name in keep:
        if name not in layers:
            known = ", ".join(layers)
            raise ValueError(f"there is no layer {name!r} to keep; the layers are {known}.")
    for name, layer in layers.items():
        _check_layer(name, layer, keep)
    count = sum(
        int(np.prod(weight.shape))
        for name, layer in layers.items()
        if _is_rounded(name, layer, keep)
        for weight in layer.weights
    )
    if not count:
        raise ValueError(f"{model.name} has no weights that can be compressed.")
    options = {"bit_cost": rate / count, "prior": prior, "step": step}

    def replaced(name: str, layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
        if not _is_rounded(name, layer, keep):
            return type(layer).from_config(layer.get_config())
        return COMPRESSIBLE[type(layer)].from_config({**layer.get_config(), **options})

    copy = _cloned(model, replaced)
    for (name, layer), (_, other) in zip(_layers(model), _layers(copy)):
        if _is_rounded(name, layer, keep):
            _assign_rounded(other, _named_weights(layer))
        else:
            other.set_weights(layer.get_weights())
    return copy


def plain(model: tf.keras.Model) -> tf.keras.Model:
    """Returns a copy of a compressible model with plain Keras layers and the rounded weights."""
    copy = _plain_copy(model)
    _assign_values(copy, WeightFile(_tensors(model), {}).values())
    return copy


def compress(model: tf.keras.Model, step: float | None = None, coder: str | None = None) -> bytes:
    """Returns the file of a model's weights (.tfcw).

    Normalizations are stored as one scale and one offset per channel, which does not change what
    the model computes after training.

    Args:
        model: a compressible model; or a plain one, whose weights are rounded to `step`.
        step: for plain models: step as a share of each weight's standard deviation.
        coder: "range", or "elias-gamma" without tables; None: what the model was trained for.
    """
    rounded = list(_rounded_weights(model))
    if rounded and step is not None:
        raise ValueError("the model has learned steps: leave out step.")
    if not rounded and step is None:
        raise ValueError("the model has no learned steps: give step, or train with compressible().")
    if coder is None:
        penalized = rounded and not any(weight.uses_entropy_coder for weight in rounded)
        coder = ELIAS_GAMMA if penalized else RANGE
    _check_convertible(model)
    return encode(_tensors(model, step), {"kind": MODEL_KIND, "name": model.name}, coder)


def decompress(data: bytes, model: tf.keras.Model) -> tf.keras.Model:
    """Returns a plain copy of a model with the weights of a file.

    Args:
        data: contents of a file that `compress` returned.
        model: a model of the same architecture, plain or compressible.
    """
    content = decode(data)
    if content.metadata.get("kind") != MODEL_KIND:
        raise ValueError("the file has the weights of another kind of model.")
    _check_convertible(model)
    copy = _plain_copy(model)
    _assign_values(copy, content.values())
    return copy


def estimated_bytes(model: tf.keras.Model) -> float:
    """Returns the bytes of all compressible weights under their priors, without tables."""
    bits = [float(w.bits()) for w in _rounded_weights(model) if w.uses_entropy_coder]
    return sum(bits) / 8.0


def _check_convertible(model: tf.keras.Model) -> None:
    if not isinstance(model, tf.keras.Model) or type(model).call not in _FUNCTIONAL_CALLS:
        raise ValueError(
            f"{getattr(model, 'name', model)} is a {type(model).__name__}: only Sequential and "
            "functional models can be converted; use the layers of tfc_models.weights in others."
        )
    if not model.built or not model.inputs:
        raise ValueError(f"{model.name} has no input shape yet: call it on some data first.")
    for layer in model.layers:
        if isinstance(layer, tf.keras.Model):
            _check_convertible(layer)


_FUNCTIONAL_CALLS = (
    tf.keras.Sequential.call,
    type(tf.keras.Model(*(2 * [tf.keras.Input([1])]))).call,
)


def _check_layer(name: str, layer: tf.keras.layers.Layer, keep: Sequence[str]) -> None:
    if not layer.weights or name in keep or isinstance(layer, KEPT_TYPES):
        return
    if type(layer) not in COMPRESSIBLE:
        known = ", ".join(sorted(kind.__name__ for kind in COMPRESSIBLE))
        raise ValueError(
            f"layer {name!r} is a {type(layer).__name__}, whose weights cannot be compressed "
            f"(only those of {known}): pass keep=[{name!r}] to store them as float16."
        )
    for attribute in ("kernel_constraint", "bias_constraint", "embeddings_constraint"):
        if getattr(layer, attribute, None) is not None:
            raise ValueError(f"layer {name!r} has a {attribute}, which latents cannot have.")


def _is_rounded(name: str, layer: tf.keras.layers.Layer, keep: Sequence[str] = ()) -> bool:
    return bool(layer.weights) and name not in keep and type(layer) in COMPRESSIBLE


def _layers(model: tf.keras.Model, prefix: str = "") -> Iterator[tuple[str, tf.keras.layers.Layer]]:
    """Yields the layers that are no models, by names with those of the models around them."""
    for layer in model.layers:
        name = f"{prefix}{layer.name}"
        if isinstance(layer, tf.keras.Model):
            yield from _layers(layer, f"{name}/")
        else:
            yield name, layer


def _cloned(
    model: tf.keras.Model,
    replaced: Callable[[str, tf.keras.layers.Layer], tf.keras.layers.Layer],
    prefix: str = "",
) -> tf.keras.Model:
    def clone(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
        name = f"{prefix}{layer.name}"
        if isinstance(layer, tf.keras.Model):
            return _cloned(layer, replaced, f"{name}/")
        return replaced(name, layer)

    copy = tf.keras.models.clone_model(model, clone_function=clone)
    copy._name = model.name  # Names of nested models are prefixes of their layers' names.
    return copy


def _plain_copy(model: tf.keras.Model) -> tf.keras.Model:
    def replaced(name: str, layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
        if isinstance(layer, CompressibleLayer):
            return layer.plain_class.from_config(layer.plain_config())
        return type(layer).from_config(layer.get_config())

    return _cloned(model, replaced)


def _named_weights(layer: tf.keras.layers.Layer) -> dict[str, np.ndarray]:
    """Returns a plain layer's weights by name."""
    return {_short_name(variable): variable.numpy() for variable in layer.weights}


def _short_name(variable: tf.Variable) -> str:
    return variable.name.split("/")[-1].split(":")[0]


def _assign_rounded(layer: CompressibleLayer, values: dict[str, np.ndarray]) -> None:
    for name, weight in layer.rounded.items():
        weight.assign(values[name])


def _rounded_weights(model: tf.keras.Model) -> Iterator[RoundedWeight]:
    for _, layer in _layers(model):
        if isinstance(layer, CompressibleLayer):
            yield from layer.rounded.values()


def _tensors(model: tf.keras.Model, step: float | None = None) -> dict[str, Tensor]:
    """Returns a model's weights as files store them, by the names of layer and weight."""
    tensors: dict[str, Tensor] = {}
    for name, layer in _layers(model):
        parts: dict[str, Tensor]
        if isinstance(layer, CompressibleLayer):
            parts = {key: weight.coded() for key, weight in layer.rounded.items()}
        elif step is not None and _is_rounded(name, layer):
            transforms = COMPRESSIBLE[type(layer)].rounded_names
            parts = {
                key: rounded_tensor(value, step, transforms[key], f"{name}/{key}")
                for key, value in _named_weights(layer).items()
            }
        else:
            parts = {k: _stored(v, f"{name}/{k}") for k, v in _kept_weights(layer).items()}
        tensors.update({f"{name}/{key}": tensor for key, tensor in parts.items()})
    return tensors


def _kept_weights(layer: tf.keras.layers.Layer) -> dict[str, np.ndarray]:
    """Returns weights that are not rounded; moments of batches are part of scale and offset."""
    weights = _named_weights(layer)
    if not isinstance(layer, tf.keras.layers.BatchNormalization):
        return weights
    scale = 1.0 / np.sqrt(weights.pop("moving_variance") + layer.epsilon)
    offset = -weights.pop("moving_mean") * scale
    if layer.center and layer.scale:
        gamma = weights["gamma"]
        return {"gamma": gamma * scale, "beta": weights["beta"] + gamma * offset}
    return {**weights, "moving_scale": scale, "moving_offset": offset}


def _stored(value: np.ndarray, name: str) -> np.ndarray:
    if not np.all(np.isfinite(value)):
        raise ValueError(f"{name} holds values that are not finite numbers.")
    if value.dtype.kind != "f":
        return value
    largest = float(np.abs(value).max()) if value.size else 0.0
    return value.astype(np.float16 if largest < 65000.0 else np.float32)


def _assign_values(model: tf.keras.Model, values: dict[str, np.ndarray]) -> None:
    """Sets the weights of a plain model. Raises ValueError if they are not those of the model."""
    left = dict(values)
    for name, layer in _layers(model):
        for variable in layer.weights:
            short = _short_name(variable)
            value = _moment(layer, short, left, f"{name}/")
            if value is None:
                value = left.pop(f"{name}/{short}", None)
            if value is None:
                raise ValueError(f"the file is of another architecture: it has no {name}/{short}.")
            if tuple(value.shape) != tuple(variable.shape):
                raise ValueError(
                    f"the file is of another architecture: {name}/{short} has the shape "
                    f"{value.shape} in the file and {tuple(variable.shape)} in the model."
                )
            variable.assign(value)
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            for short in ("moving_scale", "moving_offset"):
                left.pop(f"{name}/{short}", None)
    if left:
        unused = next(iter(left))
        raise ValueError(f"the file is of another architecture: the model has no {unused}.")


def _moment(
    layer: tf.keras.layers.Layer, name: str, values: dict[str, np.ndarray], prefix: str
) -> np.ndarray | None:
    """Returns a moment of batches that gives the stored scale and offset; None for others."""
    if not isinstance(layer, tf.keras.layers.BatchNormalization):
        return None
    scale = values.get(f"{prefix}moving_scale")
    channels = layer.moving_mean.shape
    if name == "moving_variance":
        scale = np.ones(channels) if scale is None else scale
        return np.square(1.0 / scale.astype(np.float32)) - layer.epsilon
    if name == "moving_mean":
        if scale is None:
            return np.zeros(channels, np.float32)
        return -values[f"{prefix}moving_offset"].astype(np.float32) / scale.astype(np.float32)
    return None
