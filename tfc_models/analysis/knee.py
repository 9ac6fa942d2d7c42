"""Where a curve of two costs bends most: the setting beyond which either costs a lot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TIE = 1e-9


def below_chord(x: Sequence[float], y: Sequence[float]) -> np.ndarray:
    """How far each point of a curve is below the chord of its ends, as `knee` sees it.

    In units of the scaled axes, from 0 at the ends to less than 1 in the corner that is best in
    both (the distance times √2); NaN for points that others dominate.

    >>> below_chord([0.0, 0.1, 0.5, 1.0], [1.0, 0.2, 0.1, 0.0]).round(2)
    array([0. , 0.7, 0.4, 0. ])

    Raises:
        ValueError: lists of different lengths; numbers that are not finite; fewer than three
            points that no others dominate.
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
            f"a knee needs three points that no others dominate; of {len(curve)} there are "
            f"{len(kept)}."
        )
    curve = curve[kept]
    curve = (curve - curve.min(axis=0)) / np.ptp(curve, axis=0)
    # The chord is now x + y = 1; the distance from it is this over √2.
    found = np.full(len(order), np.nan)
    found[kept] = 1.0 - curve.sum(axis=1)
    return found


def knee(x: Sequence[float], y: Sequence[float]) -> int:
    """The index of a curve's knee, where both numbers are the better the smaller.

    Points that others dominate (no larger in both, and smaller in one) are dropped; so are all
    but the first of equal ones. The rest is a falling curve, of which both axes are scaled to
    between 0 and 1, and the knee is the point furthest below the chord of its ends. So units do not
    matter, nor the order of the points, nor which number is called x.

    >>> knee([0.0, 0.1, 0.5, 1.0], [1.0, 0.2, 0.1, 0.0])
    1

    Args:
        x: one cost of each point: distortion, or rate.
        y: the other: perception, or distortion.

    Returns:
        The knee's place in the lists as they came.

    Raises:
        ValueError: lists of different lengths; numbers that are not finite; fewer than three
            points that no others dominate; none of them below the chord; two that are equally
            far below it.
    """
    below = below_chord(x, y)
    deepest = float(np.nanmax(below))
    if deepest <= TIE:
        raise ValueError("a curve that is nowhere below the chord of its ends has no knee.")
    if len(tied := np.flatnonzero(below > deepest - TIE)) > 1:
        raise ValueError(f"points {tied.tolist()} are equally far below the chord.")
    return int(np.nanargmax(below))
