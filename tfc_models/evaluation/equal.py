"""Sizes at equal quality."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Trial(NamedTuple):
    """Size and quality of a file; higher is better."""

    bytes: int
    quality: float


class EqualSize(NamedTuple):
    """Size of a file of a given quality.

    Attributes:
        bytes: interpolated between the files at `settings`, log size over quality; None if no
            setting gives the quality.
        settings: settings just below and just above the quality, or the one closest to a quality
            out of range.
        trials: size and quality at `settings`.
    """

    bytes: float | None
    settings: tuple[float, ...]
    trials: tuple[Trial, ...]


def size_at_quality(
    settings: Sequence[float], quality: float, trial_at: Callable[[float], Trial]
) -> EqualSize:
    """Returns the size at a quality, interpolated between the two neighboring settings.

    Args:
        settings: settings by increasing size, and thus nearly by increasing quality.
        quality: target; higher is better.
        trial_at: codes at a setting; called once per setting.
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
    # Invariant: quality at low ≤ target ≤ quality at high.
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
    """Returns the size at a quality between two files; log size is linear in quality."""
    span = above.quality - below.quality
    # A lossless file has infinite PSNR, so only the file below the quality is used.
    share = (quality - below.quality) / span if 0.0 < span < math.inf else 0.0
    return math.exp((1.0 - share) * math.log(below.bytes) + share * math.log(above.bytes))
