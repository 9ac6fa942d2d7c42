"""Sizes at equal quality: which setting of a codec gives the quality of another's file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Trial(NamedTuple):
    """Size and quality of a file; higher is better."""

    bytes: int
    quality: float


class EqualSize(NamedTuple):
    """The size of a file of a given quality.

    Attributes:
        bytes: between the sizes of the files at `settings`, by the logarithm of the size over
            the quality; None where no setting gives the quality.
        settings: the setting below the quality and the one that reaches it, or the setting
            that is nearest to a quality out of range.
        trials: size and quality at `settings`.
    """

    bytes: float | None
    settings: tuple[float, ...]
    trials: tuple[Trial, ...]


def size_at_quality(
    settings: Sequence[float], quality: float, trial_at: Callable[[float], Trial]
) -> EqualSize:
    """The size at a quality, from the two neighbouring settings around it.

    Args:
        settings: by growing size, and so, nearly, by growing quality.
        quality: the target; higher is better.
        trial_at: codes at a setting; called once for each setting.
    """
    trials: dict[int, Trial] = {}

    def trial(index: int) -> Trial:
        if index not in trials:
            trials[index] = trial_at(settings[index])
        return trials[index]

    low, high = 0, len(settings) - 1
    for end, is_out in ((low, trial(low).quality > quality), (high, trial(high).quality < quality)):
        if is_out:
            return EqualSize(None, (settings[end],), (trial(end),))
    # The quality at low is not above the target, that at high not below it.
    while high - low > 1:
        middle = (low + high) // 2
        if trial(middle).quality < quality:
            low = middle
        else:
            high = middle
    below, above = trial(low), trial(high)
    return EqualSize(
        _between(below, above, quality), (settings[low], settings[high]), (below, above)
    )


def _between(below: Trial, above: Trial, quality: float) -> float:
    """The size at a quality between two files, its logarithm linear in the quality."""
    span = above.quality - below.quality
    # A file without loss has an infinite PSNR: only the one below is a measure.
    share = (quality - below.quality) / span if 0.0 < span < math.inf else 0.0
    return math.exp((1.0 - share) * math.log(below.bytes) + share * math.log(above.bytes))
