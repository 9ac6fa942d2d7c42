"""Contenders of an evaluation: codecs with the settings that make their curves."""

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
    """A codec of a model, such as `tfc_models.Codec`."""

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
        decode: file to picture.
        warms_up: names what the first, untimed call for pictures of one size makes ready;
            settings may share it. Empty where there is no such thing.
    """

    label: str
    identity: str
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray]
    warms_up: str = ""


class Contender(NamedTuple):
    """A codec with settings, or several models of one rate that make a curve together.

    Attributes:
        name: for tables and legends.
        kind: that of `analysis.Curve`.
        settings: the points of the curve.
        library: name and version of what codes.
        options: what is the same at all settings.
    """

    name: str
    kind: str
    settings: tuple[Setting, ...]
    library: str = ""
    options: str = ""

    def record(self) -> dict[str, Any]:
        """The settings of the codec, for JSON."""
        labels = [setting.label for setting in self.settings]
        return {**self._asdict(), "settings": labels}


def peer_contender(peer: Peer, points: int) -> Contender:
    """A standard codec at a number of settings."""
    settings = (peer_setting(peer, setting) for setting in peer.curve_settings(points))
    return Contender(peer.title, "codec", tuple(settings), peer.version, peer.options_text)


def peer_setting(peer: Peer, setting: float) -> Setting:
    """A standard codec at a setting."""
    return Setting(
        label=peer.label(setting),
        identity=f"{peer.name} ({peer.version}) {sorted(peer.options.items())} {setting!r}",
        encode=partial(peer.encode, setting=setting),
        decode=peer.decode,
    )


def model_contender(
    name: str, codecs: Mapping[str, ModelCodec], points: int, **options: Any
) -> Contender:
    """One curve of models by name: each at its rate, or at a number of qualities.

    `options` go to every call of `compress`.
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
    """A model at a quality, None for its only one.

    Args:
        codec: the model's.
        quality: 0 to 100, or None.
        name: begins the label.
        options: further arguments of `compress`; they are in the label and the identity.
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
        # Pictures over the limits were refused when they were read.
        decode=partial(codec.decompress, max_pixels=2**62, max_side=2**62),
        # A search builds graphs of its own.
        warms_up=", ".join(filter(None, (weights, options_text(options)))),
    )


def model_library(*codecs: ModelCodec) -> str:
    """Name and version of this package, with the weights of the models."""
    weights = ", ".join(f"{codec.model_name} {codec.digest}" for codec in codecs)
    return f"tfc-models {__version__}, {weights}"


def options_text(options: Mapping[str, Any]) -> str:
    """Options of an encoder, for people."""
    return ", ".join(f"{name} {value}" for name, value in options.items())


def qualities_of(codec: ModelCodec, points: int) -> list[int | None]:
    """Qualities that spread over a model's rates; [None] for a model of one rate."""
    if not codec.many_rates:
        return [None]
    spread = np.linspace(0, LARGEST_QUALITY, points)
    return sorted({round(quality) for quality in spread})
