"""Codecs of the zoo, by name or for a file."""

from __future__ import annotations

import os

from tfc_models import zoo
from tfc_models.codec import container
from tfc_models.codec.codec import Codec
from tfc_models.codec.container import UnknownModelError
from tfc_models.models import CompressionModel


def load(
    name: str = "default",
    realism: str | os.PathLike[str] | None = None,
    fast: str | os.PathLike[str] | None = None,
) -> Codec:
    """Returns a codec of the zoo by name, or of a weights file by path.

    Args:
        name: name in the zoo, or path or https address of weights.
        realism: path or https address of a realism decoder, instead of the zoo's.
        fast: path or https address of a fast decoder, instead of the zoo's.
    """
    weights, entry_name = zoo.find(name)
    return _codec(zoo.build_model(weights), entry_name, zoo.entry_of(name), realism, fast)


def codec_for(
    data: bytes,
    realism: str | os.PathLike[str] | None = None,
    fast: str | os.PathLike[str] | None = None,
) -> Codec:
    """Returns the zoo's codec for a file. Raises an error that names the model if it is missing."""
    header = container.inspect(data)
    for entry in zoo.entries():
        if entry.name == header.model and header.digest in (entry.digest, *entry.decodes):
            # By entry, as the name may have a newer version.
            return _codec(zoo.build_model(zoo.read(entry)), entry.name, entry, realism, fast)
    raise UnknownModelError(
        f"compressed with model {header.model} (weights {header.digest}), which is not in the zoo "
        f"({', '.join(f'{e.name} {e.digest}' for e in zoo.entries())}): load its weights file."
    )


def _codec(
    model: CompressionModel,
    name: str,
    entry: zoo.Entry | None,
    realism: str | os.PathLike[str] | None,
    fast: str | os.PathLike[str] | None,
) -> Codec:
    """Returns the codec of a model, with the given decoders or else those of its zoo entry."""
    known_realism = entry if entry and entry.realism else None
    known_fast = entry if entry and entry.fast else None
    return Codec(
        model,
        name,
        realism=realism or known_realism,
        fast=fast or known_fast,
        decodes=entry.decodes if entry else (),
    )
