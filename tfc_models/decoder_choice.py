"""Choice between the decoder of a model and a faster one. Needs no TensorFlow."""

from __future__ import annotations

DECODERS = ("full", "fast")
"""The model's own synthesis, or one with fewer channels."""


def check_choice(decoder: str, realism: float) -> None:
    """Raises ValueError for an unknown decoder, or realism with the fast decoder."""
    if decoder not in DECODERS:
        raise ValueError(f"the decoder is {' or '.join(DECODERS)}; got {decoder!r}.")
    if decoder == "fast" and realism:
        raise ValueError("realism needs the decoder full: the fast decoder has none.")
