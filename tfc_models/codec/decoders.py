"""Decoders of a codec besides the model's own: with realism, and fast."""

from __future__ import annotations

import os
from typing import Union

import numpy as np

from tfc_models import remote, zoo
from tfc_models.codec.saved_model import REALISM_RANGE
from tfc_models.decoders import ReplacementDecoder
from tfc_models.decoders import decoder_file as replacement_file
from tfc_models.models import CompressionModel
from tfc_models.realism import RealismDecoder
from tfc_models.realism import decoder_file as realism_file

RealismSource = Union[RealismDecoder, str, "os.PathLike[str]", zoo.Entry, None]
FastSource = Union[ReplacementDecoder, str, "os.PathLike[str]", zoo.Entry, None]


class OtherDecoders:
    """Realism decoder and fast decoder of a model's files. Weights are read on first use.

    Args:
        model: the frozen model.
        owner: name of the model and its weights, for error messages.
        realism: realism decoder, its weights file, a zoo entry that has one, or None.
        fast: fast decoder, its weights file, a zoo entry that has one, or None.
    """

    def __init__(
        self, model: CompressionModel, owner: str, realism: RealismSource, fast: FastSource
    ) -> None:
        for decoder in (realism, fast):
            if not isinstance(decoder, (RealismDecoder, ReplacementDecoder)):
                continue
            if decoder.base is not model:
                raise ValueError(f"the decoder is for another model than this {model.name}.")
        if isinstance(realism, (str, os.PathLike)):
            remote.check_there(realism, "a realism decoder")
        if isinstance(fast, (str, os.PathLike)):
            remote.check_there(fast, "a fast decoder")
        self._model, self._owner = model, owner
        self._realism, self._fast = realism, fast

    @property
    def has_realism(self) -> bool:
        """Whether there is a realism decoder."""
        return self._realism is not None

    @property
    def has_fast(self) -> bool:
        """Whether there is a fast decoder."""
        return self._fast is not None

    def realism(self) -> RealismDecoder:
        """Returns the realism decoder. Raises ValueError if there is none."""
        if self._realism is None:
            raise ValueError(
                f"{self._owner} has no realism decoder: give the file of one, or decompress at "
                "realism 0."
            )
        if isinstance(self._realism, zoo.Entry):
            self._realism = zoo.realism_of(self._realism)
        if not isinstance(self._realism, RealismDecoder):
            self._realism = realism_file.build(realism_file.read(self._realism), self._model)
        return self._realism

    def fast(self) -> ReplacementDecoder:
        """Returns the fast decoder. Raises ValueError if there is none."""
        if self._fast is None:
            raise ValueError(
                f"{self._owner} has no fast decoder: give the file of one, or decompress with "
                "the decoder full."
            )
        if isinstance(self._fast, zoo.Entry):
            self._fast = zoo.fast_of(self._fast)
        if not isinstance(self._fast, ReplacementDecoder):
            weights = replacement_file.read(self._fast)
            self._fast = replacement_file.build(weights, self._model)
        return self._fast


def checked_realism(realism: float) -> float:
    """Returns a realism from 0 to 1. Raises ValueError for other values."""
    is_number = isinstance(realism, (int, float, np.integer, np.floating))
    if not is_number or isinstance(realism, bool) or not 0.0 <= realism <= 1.0:
        raise ValueError(f"{REALISM_RANGE}{realism}.")
    return float(realism)
