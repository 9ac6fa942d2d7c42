"""Who takes part: each with the settings that make its curve, all alike to whoever measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from tfc_models.codec.container import LARGEST_QUALITY
from tfc_models.evaluation.peers import Peer


class ModelCodec(Protocol):
    """What is asked of a codec of ours: `tfc_models.Codec` is one."""

    model_name: str
    digest: str
    many_rates: bool

    def compress(self, picture: np.ndarray) -> bytes:
        """A file; codecs of many rates also take `quality`, 0 to 100."""

    def decompress(self, data: bytes) -> np.ndarray:
        """The picture in a file."""


class Setting(NamedTuple):
    """One point of a curve.

    Attributes:
        label: in words.
        identity: changes when files could: codec, version or weights, and setting.
        encode: picture to file.
        decode: and back.
        warms_up: what a first, untimed call makes ready for pictures of one size, by a name
            that settings share; empty where there is no such thing.
    """

    label: str
    identity: str
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray]
    warms_up: str = ""


class Contender(NamedTuple):
    """A codec with settings, or several models of one rate that make a curve together."""

    name: str
    kind: str  # As analysis.Curve has it.
    settings: tuple[Setting, ...]


def peer_contender(peer: Peer, points: int) -> Contender:
    """A standard codec at a number of settings."""
    settings = (
        Setting(
            label=peer.label(setting),
            identity=f"{peer.name} ({peer.version}) {sorted(peer.options.items())} {setting!r}",
            encode=partial(peer.encode, setting=setting),
            decode=peer.decode,
        )
        for setting in peer.curve_settings(points)
    )
    return Contender(peer.title, "codec", tuple(settings))


def model_contender(name: str, codecs: Mapping[str, ModelCodec], points: int) -> Contender:
    """One curve out of models by name: each at its rate, or at a number of qualities."""
    return Contender(
        name,
        "model",
        tuple(
            model_setting(codec, quality, "" if len(codecs) == 1 and quality is not None else own)
            for own, codec in codecs.items()
            for quality in qualities_of(codec, points)
        ),
    )


def model_setting(codec: ModelCodec, quality: int | None, name: str = "") -> Setting:
    """A model at a quality, None for its only one; `name` is to be in the label."""
    labels = [name, "" if quality is None else f"quality {quality}"]
    weights = f"{codec.model_name} {codec.digest}"
    options: dict[str, Any] = {} if quality is None else {"quality": quality}
    return Setting(
        label=", ".join(filter(None, labels)),
        identity=f"model {weights} quality {quality}",
        encode=partial(codec.compress, **options),
        # What is too large was left out before it came here.
        decode=partial(codec.decompress, max_pixels=2**62, max_side=2**62),
        warms_up=weights,
    )


def qualities_of(codec: ModelCodec, points: int) -> list[int | None]:
    """Qualities that spread over a model's rates; [None] for a model of one rate."""
    if not codec.many_rates:
        return [None]
    spread = np.linspace(0, LARGEST_QUALITY, points)
    return sorted({round(quality) for quality in spread})
