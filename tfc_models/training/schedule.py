"""Learning rates over a run. Imports nothing: it is copied into exported steps."""

from __future__ import annotations


def learning_rates(
    fraction: float,
    peaks: dict[str, float],
    waiting: tuple[str, ...],
    head_start: float,
    warmup: float,
    decay: float,
    last_rate: float,
) -> dict[str, float]:
    """Returns the learning rate of each variable group at a fraction of the budget.

    Args:
        fraction: of the budget that is used.
        peaks: learning rate of each group between warm-up and decay.
        waiting: groups that are not trained during the head start.
        head_start: fraction of the budget during which only the other groups are trained.
        warmup: fraction of the budget over which a rate rises from zero.
        decay: fraction at the end of the budget over which rates fall.
        last_rate: final rate, relative to the peak.
    """
    remaining = (1.0 - min(fraction, 1.0)) / max(decay, 1e-9)
    decay_factor = last_rate + (1.0 - last_rate) * min(remaining, 1.0)

    def warmup_factor(start: float) -> float:
        if fraction < start:
            return 0.0
        return min((fraction - start) / warmup, 1.0) if warmup else 1.0

    return {
        group: peak * decay_factor * warmup_factor(head_start if group in waiting else 0.0)
        for group, peak in peaks.items()
    }
