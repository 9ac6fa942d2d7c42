"""Rates of learning over a run. Imports nothing: it travels with an exported step."""

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
    """Of each kind of variable, at a fraction of the budget.

    Args:
        fraction: of the budget, that is spent.
        peaks: rate of each kind of variable, between warm-up and decay.
        waiting: kinds that stay as they are during the head start.
        head_start: fraction that the other kinds have for themselves.
        warmup: fraction over which a rate rises from zero.
        decay: fraction, at the end, over which rates fall.
        last_rate: what they fall to, times their peak.
    """
    left = (1.0 - min(fraction, 1.0)) / max(decay, 1e-9)
    falling = last_rate + (1.0 - last_rate) * min(left, 1.0)

    def ramp(start: float) -> float:
        if fraction < start:
            return 0.0
        return min((fraction - start) / warmup, 1.0) if warmup else 1.0

    return {
        kind: peak * falling * ramp(head_start if kind in waiting else 0.0)
        for kind, peak in peaks.items()
    }
