"""Knee of a curve of two costs: the point beyond which either cost grows fast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TIE = 1e-9


def below_chord(x: Sequence[float], y: Sequence[float]) -> np.ndarray:
    """Returns how far each point of a curve is below the chord of its ends (see `knee`).

    Values are in units of the scaled axes, from 0 at the ends to less than 1 in the best corner
    (the distance times √2). Dominated points have NaN.

    >>> below_chord([0.0, 0.1, 0.5, 1.0], [1.0, 0.2, 0.1, 0.0]).round(2)
    array([0. , 0.7, 0.4, 0. ])

    Raises:
        ValueError: lists of different lengths; numbers that are not finite; fewer than three
            points that are not dominated.
    """
    points = [np.asarray(axis, np.float64) for axis in (x, y)]
    if any(axis.ndim != 1 for axis in points) or len(points[0]) != len(points[1]):
        raise ValueError(f"a knee needs two lists of one length; got {len(x)} and {len(y)}.")
    curve = np.stack(points, 1)
    if not np.all(np.isfinite(curve)):
        place = int(np.flatnonzero(~np.isfinite(curve).all(axis=1))[0])
        raise ValueError(f"point {place} of the curve is {tuple(curve[place])}: not finite.")
    order = np.lexsort((np.arange(len(curve)), curve[:, 1], curve[:, 0]))
    lowest = np.minimum.accumulate(np.concatenate([[np.inf], curve[order, 1]]))[:-1]
    kept = order[curve[order, 1] < lowest]
    if len(kept) < 3:
        raise ValueError(
            f"a knee needs three points that are not dominated by others; {len(kept)} of "
            f"{len(curve)} are not."
        )
    curve = curve[kept]
    curve = (curve - curve.min(axis=0)) / np.ptp(curve, axis=0)
    # The chord is now x + y = 1; the distance from it is this over √2.
    below = np.full(len(order), np.nan)
    below[kept] = 1.0 - curve.sum(axis=1)
    return below


def knee(x: Sequence[float], y: Sequence[float]) -> int:
    """Returns the index of a curve's knee, where smaller is better in both numbers.

    Dominated points (no larger in both numbers, and smaller in one, exist) are dropped, and so are
    all but the first of equal points. The rest is a falling curve. Both axes are scaled to between
    0 and 1. The knee is the point furthest below the chord of the ends. It does not depend on
    units, on the order of the points, or on which number is called x.

    >>> knee([0.0, 0.1, 0.5, 1.0], [1.0, 0.2, 0.1, 0.0])
    1

    Args:
        x: one cost of each point: distortion, or rate.
        y: the other: perception, or distortion.

    Returns:
        Index of the knee in the lists.

    Raises:
        ValueError: lists of different lengths; numbers that are not finite; fewer than three
            points that are not dominated; none of them below the chord; two that are equally far
            below it.
    """
    below = below_chord(x, y)
    deepest = float(np.nanmax(below))
    if deepest <= TIE:
        raise ValueError("a curve that is nowhere below the chord of its ends has no knee.")
    if len(tied := np.flatnonzero(below > deepest - TIE)) > 1:
        raise ValueError(f"points {tied.tolist()} are equally far below the chord.")
    return int(np.nanargmax(below))
