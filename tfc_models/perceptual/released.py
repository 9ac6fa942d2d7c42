"""Reader of the authors' released PIM weights.

A folder holds `config.json` and the TensorFlow checkpoint `weights` (weights.index,
weights.data-…), as in the unpacked archives pim-1 and pim-5.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfc_models.perceptual.pim import Pim, PimConfig
from tfc_models.perceptual.sp1 import SCALES

CONFIG, CHECKPOINT = "config.json", "weights"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_PREFIXES = {
    "features": "frontend/cnns",
    "marginal": "marginal_encoder/encoders",
    "joint": "joint_encoder/encoders",
}
# Settings without a field in PimConfig, with the only value that Pim implements.
_FIXED = {
    "num_channels": 3,
    "nscales": SCALES,
    "steerable_filter_type": 1,
    "use_residual": True,
    "cnn": "Conv",
    "padding": "same",
    "num_distribution_encoder_layers": 2,
}


def load_released(folder: str | os.PathLike[str]) -> Pim:
    """Returns a PIM with the released weights in a folder."""
    folder = pathlib.Path(folder)
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        model = Pim(_config_of(settings))
        checkpoint = tf.train.load_checkpoint(str(folder / CHECKPOINT))
        for key, variable in _keyed(model):
            variable.assign(checkpoint.get_tensor(key + _VALUE))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder} holds no released PIM: it needs {CONFIG} and {CHECKPOINT}.index "
            f"({error.filename} is missing)."
        ) from None
    except (tf.errors.OpError, KeyError, TypeError, ValueError) as error:
        message = str(error).splitlines()[0]
        raise ValueError(f"{folder} holds no released PIM: {message}.") from None
    return model


def _config_of(settings: dict[str, Any]) -> PimConfig:
    for name, value in _FIXED.items():
        if settings.get(name, value) != value:
            raise ValueError(f"{CONFIG} has {name} = {settings[name]!r}, which is not implemented")
    *widths, features = settings["num_filters"]
    if len(widths) != 3 or len({*widths}) != 1:
        raise ValueError(f"{CONFIG} has num_filters = {settings['num_filters']}: not implemented")
    return PimConfig(
        frontend=str(settings["multiscale"]).lower(),
        width=widths[0],
        features=features,
        dimensions=settings["z_dim"],
        components=settings["num_marginal_encoder_mixtures"],
    )


def _keyed(model: Pim) -> Iterator[tuple[str, tf.Variable]]:
    """Yields every variable with its key in the checkpoint, which has the coarsest band first."""
    for name, layer in model.networks().items():
        kind, band = name.split("_")
        stored = model.band_count - 1 - int(band)
        for key, part in _parts(kind, layer).items():
            for attribute in ("kernel", "bias"):
                yield (
                    f"{_PREFIXES[kind]}/{stored}/{key}/{attribute}",
                    getattr(part, attribute),
                )


def _parts(kind: str, layer: Any) -> dict[str, tf.keras.layers.Layer]:
    """Returns the layers of a network by their names in the checkpoint."""
    if kind == "features":
        lists = {"layer_with_weights-": layer.convolutions}
    elif kind == "marginal":
        lists = {"base/": layer.base, "mix/": layer.mix[:-1]}
    else:
        lists = {
            "base/": layer.base,
            "base_cond_mul/": layer.multipliers,
            "base_cond_add/": layer.offsets,
        }
    parts = {f"{name}{i}": part for name, parts in lists.items() for i, part in enumerate(parts)}
    if kind == "marginal" and layer.mix:
        parts["logit_layer"] = layer.mix[-1]
    return parts
