"""How training stands in for rounding."""

from __future__ import annotations

MODES = ("noise", "round", "mixed")
"""What a coder does to a latent while it trains:

- `noise`: uniform noise in place of rounding, for the rate and for what follows
  (Ballé et al. 2017);
- `round`: rounding with a straight-through gradient, for both;
- `mixed`: noise for the rate, straight-through rounding for what follows
  (Minnen & Singh 2020).
"""


def checked_mode(mode: str) -> str:
    """The mode, or an error that lists the modes."""
    if mode not in MODES:
        raise ValueError(f"quantization is one of {', '.join(MODES)}; got {mode!r}.")
    return mode
