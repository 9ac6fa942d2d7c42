"""Decoders that replace the synthesis transform of a model and read the same files."""

from tfc_models.decoders import decoder_file
from tfc_models.decoders.replacement import ReplacementDecoder
from tfc_models.decoders.widths import (
    chain_of_widths,
    multiplications,
    narrowed_state,
    widths_of,
)

__all__ = [
    "ReplacementDecoder",
    "chain_of_widths",
    "decoder_file",
    "multiplications",
    "narrowed_state",
    "widths_of",
]
