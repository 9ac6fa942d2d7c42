"""Files of replacement decoders: one npz with the weights of a synthesis transform."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from tfc_models.decoders.replacement import ReplacementDecoder
from tfc_models.models import CompressionModel
from tfc_models.models.stored import storable
from tfc_models.remote import NewerWeightsError, read_weights, write_weights

FORMAT = 1


class DecoderWeights(NamedTuple):
    """Contents of a replacement decoder's file."""

    model: str
    digest: str
    config: dict[str, Any]
    state: dict[str, np.ndarray]
    source: str


def save(decoder: ReplacementDecoder, digest: str, path: pathlib.Path) -> None:
    """Writes a decoder for a model whose frozen weights have the digest. The write is atomic."""
    meta = {
        "format": FORMAT,
        "decoder": decoder.base.name,
        "digest": digest,
        "config": decoder.config,
    }
    arrays = {"__meta__": np.array(json.dumps(meta, sort_keys=True))}
    write_weights(path, {**arrays, **storable(decoder.state())})


def read(source: str | os.PathLike[str]) -> DecoderWeights:
    """Returns the contents of a decoder's file or https address. Raises ValueError if it cannot."""
    arrays = read_weights(source)
    try:
        meta = json.loads(str(arrays.pop("__meta__")))
        model = meta["decoder"]  # Other files lack it.
        if meta["format"] > FORMAT:
            raise NewerWeightsError(f"{source} is of a later release of tfc-models: update it.")
        state = {name: value.astype(np.float32) for name, value in arrays.items()}
        return DecoderWeights(model, meta["digest"], meta["config"], state, str(source))
    except NewerWeightsError:
        raise
    except (KeyError, ValueError, TypeError):
        raise ValueError(f"{source} is not a decoder's file, or is damaged.") from None


def check(weights: DecoderWeights, model: str, digest: str) -> None:
    """Raises ValueError if a decoder belongs to another model or other weights."""
    if (weights.model, weights.digest) != (model, digest):
        raise ValueError(
            f"{weights.source} is a decoder for {weights.model} (weights {weights.digest}), not "
            f"for {model} (weights {digest}): give one for that, or decode with the model's own."
        )


def build(weights: DecoderWeights, model: CompressionModel) -> ReplacementDecoder:
    """Returns the decoder on a frozen model. Raises ValueError if it belongs to another one."""
    check(weights, model.name, model.digest().hex())
    decoder = ReplacementDecoder(model, **weights.config)
    decoder.assign_state(weights.state)
    decoder.freeze()
    return decoder
