"""Contenders of an evaluation: codecs with the settings of their curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from tfc_models import __version__
from tfc_models.codec.container import LARGEST_QUALITY
from tfc_models.codec.tunable import weights_digests
from tfc_models.evaluation.peers import Peer


class ModelCodec(Protocol):
    """Interface of a model's codec, such as `tfc_models.Codec`."""

    model_name: str
    digest: str
    many_rates: bool

    def compress(self, image: np.ndarray) -> bytes:
        """Returns a file; codecs of many rates also take `quality`, 0 to 100."""

    def decompress(self, data: bytes, *, max_pixels: int, max_side: int) -> np.ndarray:
        """Returns the image in a file."""


class Setting(NamedTuple):
    """Setting of a codec: one point of a curve.

    Attributes:
        label: name of the setting in tables.
        identity: changes if files may change: codec, version or weights, and setting.
        encode: function from an image to a file.
        decode: function from a file to an image.
        warms_up: name of what the first, untimed call for an image size prepares; settings may
            share it. Empty if there is nothing to prepare.
    """

    label: str
    identity: str
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray]
    warms_up: str = ""


class Contender(NamedTuple):
    """Codec with its settings, or several models of one rate that form a curve.

    Attributes:
        name: name in tables and legends.
        kind: kind of the `analysis.Curve`.
        settings: points of the curve.
        library: name and version of the library.
        options: options that all settings share.
    """

    name: str
    kind: str
    settings: tuple[Setting, ...]
    library: str = ""
    options: str = ""

    def record(self) -> dict[str, Any]:
        """Returns the settings of the codec for JSON."""
        labels = [setting.label for setting in self.settings]
        return {**self._asdict(), "settings": labels}


def peer_contender(peer: Peer, points: int) -> Contender:
    """Returns a standard codec at a number of settings."""
    settings = (peer_setting(peer, setting) for setting in peer.curve_settings(points))
    return Contender(peer.title, "codec", tuple(settings), peer.version, peer.options_text)


def peer_setting(peer: Peer, setting: float) -> Setting:
    """Returns a standard codec at one setting."""
    return Setting(
        label=peer.label(setting),
        identity=f"{peer.name} ({peer.version}) {sorted(peer.options.items())} {setting!r}",
        encode=partial(peer.encode, setting=setting),
        decode=peer.decode,
    )


def model_contender(
    name: str, codecs: Mapping[str, ModelCodec], points: int, **options: Any
) -> Contender:
    """Returns a curve of models by name: each at its rate, or at a number of qualities.

    `options` are passed to every call of `compress`.
    """
    settings = (
        model_setting(
            codec, quality, "" if len(codecs) == 1 and quality is not None else own, **options
        )
        for own, codec in codecs.items()
        for quality in qualities_of(codec, points)
    )
    return Contender(
        name, "model", tuple(settings), model_library(*codecs.values()), options_text(options)
    )


def model_setting(
    codec: ModelCodec, quality: int | None, name: str = "", **options: Any
) -> Setting:
    """Returns a model at a quality, or at its only rate if the quality is None.

    Args:
        codec: codec of the model.
        quality: 0 to 100, or None.
        name: start of the label.
        options: further arguments of `compress`, which are part of the label and the identity.
    """
    labels = [name, "" if quality is None else f"quality {quality}", options_text(options)]
    weights = f"{codec.model_name} {codec.digest}"
    rate: dict[str, Any] = {} if quality is None else {"quality": quality}
    identity = f"model {weights} quality {quality}"
    further = [*sorted(options.items()), *weights_digests(options.get("tune"))]
    return Setting(
        label=", ".join(filter(None, labels)),
        identity=f"{identity} {further}" if options else identity,
        encode=partial(codec.compress, **rate, **options),
        # Images above the limits were refused when they were read.
        decode=partial(codec.decompress, max_pixels=2**62, max_side=2**62),
        # A search builds its own graphs.
        warms_up=", ".join(filter(None, (weights, options_text(options)))),
    )


def model_library(*codecs: ModelCodec) -> str:
    """Returns the name and version of this package, with the weights of the models."""
    weights = ", ".join(f"{codec.model_name} {codec.digest}" for codec in codecs)
    return f"tfc-models {__version__}, {weights}"


def options_text(options: Mapping[str, Any]) -> str:
    """Returns the options of an encoder as text."""
    return ", ".join(f"{name} {value}" for name, value in options.items())


def qualities_of(codec: ModelCodec, points: int) -> list[int | None]:
    """Returns qualities spread over a model's rates; [None] for a model of one rate."""
    if not codec.many_rates:
        return [None]
    spread = np.linspace(0, LARGEST_QUALITY, points)
    return sorted({round(quality) for quality in spread})
