"""Bjøntegaard delta rate between two rate-distortion curves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

RateQuality = Iterable[tuple[float, float]]
"""Points of a curve: bits per pixel (or any rate), and a quality that grows with it."""


class NoOverlapError(ValueError):
    """Raised if two curves have no common range of quality.

    Attributes:
        anchor: lowest and highest quality of the anchor.
        test: lowest and highest quality of the other curve.
    """

    def __init__(self, anchor: tuple[float, float], test: tuple[float, float]) -> None:
        self.anchor, self.test = anchor, test
        super().__init__(
            "the curves have no common range of quality: the anchor's is "
            f"{anchor[0]:.3f} to {anchor[1]:.3f}, the other's {test[0]:.3f} to {test[1]:.3f}."
        )


def bd_rate(anchor: RateQuality, test: RateQuality) -> float:
    """Returns how much more rate `test` needs than `anchor` for the same quality, in percent.

    The logarithm of the rate, as a function of quality, is interpolated by monotone cubics (PCHIP,
    as in the documents of video standards; the original single cubic overshoots between distant
    points) and averaged over the common range of quality. Negative values are better than the
    anchor.

    Points may have any order. Only Pareto-optimal points of a curve count, because real encoders do
    not always improve with rate; see `pareto`.

    >>> round(bd_rate([(1, 30), (2, 35), (4, 40)], [(0.5, 30), (1, 35), (2, 40)]), 6)
    -50.0

    Raises:
        NoOverlapError: no quality is reached by both; the message has both ranges.
        ValueError: a curve with fewer than two Pareto-optimal points, or with a rate that is not
            positive.
    """
    # Importing SciPy takes longer than most commands that do not need it.
    from scipy.interpolate import PchipInterpolator

    log_rates, ranges = [], []
    for name, points in (("anchor", anchor), ("other curve", test)):
        kept = pareto(points)
        if len(kept) < 2:
            raise ValueError(
                f"a curve needs at least two points, and the {name} has "
                f"{'only one' if len(kept) else 'none'} that is better than all cheaper ones."
            )
        rates, qualities = kept.T
        log_rates.append(PchipInterpolator(qualities, np.log(rates)))
        ranges.append((float(qualities[0]), float(qualities[-1])))
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    if low >= high:
        raise NoOverlapError(*ranges)
    of_anchor, of_test = (float(curve.integrate(low, high)) for curve in log_rates)
    return 100.0 * float(np.expm1((of_test - of_anchor) / (high - low)))


def pareto(points: RateQuality) -> np.ndarray:
    """Returns the Pareto-optimal points: each better than all that cost as much or less.

    The result has shape [n, 2], by rate. Points with a quality that is not finite are dropped: a
    lossless point (infinite PSNR) is on no curve.
    """
    pairs = [tuple(point) for point in points]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("points are pairs of rate and quality: zip(rates, qualities).")
    array = np.array(pairs, np.float64).reshape(-1, 2)
    if not np.all(np.isfinite(array[:, 0]) & (array[:, 0] > 0)):
        raise ValueError("rates must be positive numbers.")
    array = array[np.isfinite(array[:, 1])]
    # By rate; of equal rates the best first, so that the others are dropped.
    array = array[np.lexsort((-array[:, 1], array[:, 0]))]
    best_before = np.maximum.accumulate(np.concatenate([[-np.inf], array[:, 1]]))[:-1]
    return array[array[:, 1] > best_before]
