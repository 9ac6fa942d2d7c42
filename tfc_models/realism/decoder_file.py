"""Files of realism decoders: one npz with the additions to a model's synthesis.

Kernels are 8-bit integers in steps of an eighth of their channel's root mean square. The effect on
images is not visible, and the files take a third of the space of float16.
"""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from tfc_models.models import CompressionModel
from tfc_models.realism.decoder import RealismDecoder
from tfc_models.remote import NewerWeightsError, read_weights, write_weights

FORMAT = 1
STEPS = "#steps"  # suffix of the steps of an integer kernel
FINENESS = 8.0  # steps in a channel's root mean square


class DecoderWeights(NamedTuple):
    """Contents of a realism decoder's file."""

    model: str
    digest: str
    config: dict[str, Any]
    state: dict[str, np.ndarray]
    source: str


def save(decoder: RealismDecoder, digest: str, path: pathlib.Path) -> None:
    """Writes a decoder for a model whose frozen weights have the digest. The write is atomic."""
    meta = {
        "format": FORMAT,
        "realism": decoder.base.name,
        "digest": digest,
        "config": decoder.config,
    }
    arrays: dict[str, np.ndarray] = {"__meta__": np.array(json.dumps(meta, sort_keys=True))}
    for name, value in decoder.state().items():
        value = np.asarray(value, np.float32)
        if name.endswith("/kernel"):
            rms = np.sqrt(np.mean(np.square(value), axis=(0, 1, 2)))
            steps = (rms / FINENESS).astype(np.float16)
            units = value / np.maximum(steps.astype(np.float32), 1e-12)
            arrays[f"{name}{STEPS}"] = steps
            arrays[name] = np.clip(np.round(units), -127, 127).astype(np.int8)
        else:
            arrays[name] = value.astype(np.float16)
    write_weights(path, arrays)


def read(source: str | os.PathLike[str]) -> DecoderWeights:
    """Returns the contents of a decoder's file or https address. Raises ValueError if it cannot."""
    arrays = read_weights(source)
    try:
        meta = json.loads(str(arrays.pop("__meta__")))
        model = meta["realism"]  # Other files lack it.
        if meta["format"] > FORMAT:
            raise NewerWeightsError(f"{source} is of a later release of tfc-models: update it.")
        state = {}
        for name, value in arrays.items():
            if not name.endswith(STEPS):
                steps = arrays.get(f"{name}{STEPS}", np.float32(1.0))
                state[name] = value.astype(np.float32) * steps.astype(np.float32)
        return DecoderWeights(model, meta["digest"], meta["config"], state, str(source))
    except NewerWeightsError:
        raise
    except (KeyError, ValueError, TypeError):
        raise ValueError(f"{source} is not a realism decoder's file, or is damaged.") from None


def check(weights: DecoderWeights, model: str, digest: str) -> None:
    """Raises ValueError if a decoder belongs to another model or other weights."""
    if (weights.model, weights.digest) != (model, digest):
        raise ValueError(
            f"{weights.source} is a realism decoder for {weights.model} (weights "
            f"{weights.digest}), not for {model} (weights {digest}): give one for that, or none, "
            "which leaves realism at 0."
        )


def build(weights: DecoderWeights, model: CompressionModel) -> RealismDecoder:
    """Returns the decoder on a frozen model. Raises ValueError if it belongs to another one."""
    check(weights, model.name, model.digest().hex())
    decoder = RealismDecoder(model, **weights.config)
    decoder.assign_state(weights.state)
    decoder.trainable = False
    return decoder
