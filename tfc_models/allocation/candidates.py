"""Candidates: codecs at qualities, the options of every image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tfc_models
from tfc_models import evaluation
from tfc_models.codec.container import LARGEST_QUALITY, SUFFIX
from tfc_models.evaluation import Peer
from tfc_models.evaluation.contenders import ModelCodec, qualities_of
from tfc_models.evaluation.peers import AVIF_SPEED

SUFFIXES = {
    "jpeg": ".jpg",
    "webp": ".webp",
    "avif": ".avif",
    "avif-444": ".avif",
    "jpeg2000": ".jp2",
    "jpegxl": ".jxl",
    "heic": ".heic",
    "heic-444": ".heic",
}
"""File suffixes of the standard codecs by name."""


class Candidate(NamedTuple):
    """Codec at one quality.

    Attributes:
        codec: name of the codec in tables.
        suffix: suffix of its files.
        setting: encoder and decoder, with a label and an identity.
    """

    codec: str
    suffix: str
    setting: evaluation.Setting

    @property
    def label(self) -> str:
        """Name of the codec and its setting."""
        return ", ".join(filter(None, (self.codec, self.setting.label)))


@dataclasses.dataclass(frozen=True)
class CodecSettings:
    """Codecs and their qualities. It can be sent to other processes.

    Attributes:
        codecs: names of models, weights files and standard codecs.
        points: number of qualities per codec, spread over its range.
        qualities: qualities of all codecs, instead of `points`. A codec uses those that it has.
        avif_speed: speed of the AVIF encoder.
        effort: encoder effort of models.
    """

    codecs: tuple[str, ...] = ("default",)
    points: int = 11
    qualities: tuple[float, ...] = ()
    avif_speed: int = AVIF_SPEED
    effort: int = 0

    def candidates(
        self, load: Callable[[str], ModelCodec] = lambda name: tfc_models.load(name)
    ) -> list[Candidate]:
        """Returns all candidates.

        Args:
            load: returns the codec of a model.

        Raises:
            MissingError: a standard codec is not installed.
            ValueError: a codec has none of the qualities.
        """
        result: list[Candidate] = []
        for name in self.codecs:
            if name in evaluation.PEERS:
                result += self._of_peer(evaluation.PEERS[name])
            else:
                codec = load(name)
                is_taken = codec.model_name in {candidate.codec for candidate in result}
                result += self._of_model(codec, name if is_taken else codec.model_name)
        return result

    def _of_peer(self, peer: Peer) -> list[Candidate]:
        peer = evaluation.at_speed(peer, self.avif_speed)
        peer.load()
        settings = peer.curve_settings(self.points)
        if self.qualities:
            if peer.by_rate:
                raise ValueError(
                    f"{peer.title} has rates in place of qualities: omit --qualities; --points "
                    "selects the rates."
                )
            settings = [setting for setting in peer.settings if setting in self.qualities]
            _check_any(settings, peer.title)
        made = (evaluation.peer_setting(peer, setting) for setting in settings)
        return [Candidate(peer.title, SUFFIXES[peer.name], setting) for setting in made]

    def _of_model(self, codec: ModelCodec, name: str) -> list[Candidate]:
        qualities = qualities_of(codec, self.points)
        if self.qualities and codec.many_rates:
            qualities = [int(q) for q in self.qualities if q in range(LARGEST_QUALITY + 1)]
            _check_any(qualities, name)
        search: dict[str, Any] = {"effort": self.effort} if self.effort else {}
        made = (evaluation.model_setting(codec, quality, **search) for quality in qualities)
        return [Candidate(name, SUFFIX, setting) for setting in made]


def _check_any(qualities: list[Any], name: str) -> None:
    if not qualities:
        raise ValueError(f"{name} has none of the qualities.")
