"""Lower bounds on the bits of any code of a source, where they are known in closed form."""

from __future__ import annotations

import math

import numpy as np


def sawbridge_entropy(distortion: float) -> float:
    """Returns the least entropy in bits of a sawbridge quantizer with a mean squared error.

    Wagner, Ballé, "Neural Networks Optimally Compress the Sawbridge" (DCC 2021). Sawbridges that
    drop at u and v differ by |u − v| in squared norm. A cell of mass p, an interval, therefore has
    p²/6 of squared error. The least entropy for Σp² = 6D has k cells of one mass and one that is
    not larger.

    >>> round(sawbridge_entropy(1 / 24), 6)  # four cells of a quarter
    2.0
    """
    if not distortion > 0.0:
        raise ValueError(f"a distortion is above 0; got {distortion}.")
    squares = 6.0 * distortion
    if squares >= 1.0:
        return 0.0
    count = math.floor(1.0 / squares * (1.0 + 1e-12))
    # Larger root of count · a² + (1 − count · a)² = squares.
    inner = count * count - (count * count + count) * (1.0 - squares)
    mass = (count + math.sqrt(max(inner, 0.0))) / (count * count + count)
    rest = max(1.0 - count * mass, 0.0)
    return -count * mass * math.log2(mass) - (rest * math.log2(rest) if rest > 1e-12 else 0.0)


def sawbridge_cells(lmbda: float) -> int:
    """Returns the number of equal cells that minimizes bits + lmbda · squared error."""
    if not lmbda >= 0.0:
        raise ValueError(f"lmbda is 0 or more; got {lmbda}.")
    # log2 k + lmbda / (6 k), as a function of real k, is least at lmbda ln 2 / 6.
    middle = lmbda * math.log(2.0) / 6.0
    near = {max(1, math.floor(middle)), max(1, math.ceil(middle))}
    return min(near, key=lambda k: math.log2(k) + lmbda / (6.0 * k))


def circle_cost(lmbda: float, cells: int) -> float:
    """Returns bits + lmbda · squared error of points on the unit circle, in equal arcs.

    The centroid of an arc is sin(π/k) / (π/k) from the center. The rest of the squared radius is
    error.
    """
    inner = math.sin(math.pi / cells) / (math.pi / cells)
    return math.log2(cells) + lmbda * (1.0 - inner * inner)


def circle_cells(lmbda: float) -> int:
    """Returns the number of equal arcs of a circle that minimizes bits + lmbda · squared error."""
    if not lmbda >= 0.0:
        raise ValueError(f"lmbda is 0 or more; got {lmbda}.")
    # Fine arcs have an error of π²/3k², and the cost is least at √(2π² lmbda ln 2 / 3).
    most = 2 + 2 * math.ceil(math.sqrt(2.0 * math.pi**2 * lmbda * math.log(2.0) / 3.0))
    return min(range(1, most + 1), key=lambda k: circle_cost(lmbda, k))


def water_filling(variances: np.ndarray, distortion: float, rest: float = 0.0) -> float:
    """Returns bits of independent Gaussians at a sum of squared errors, by reverse water-filling.

    Args:
        variances: variances of the components.
        distortion: sum of squared errors over components.
        rest: sum of the variances of further, smaller components, which are not coded.
    """
    ordered = np.sort(np.asarray(variances, np.float64))[::-1]
    if not distortion > 0.0 or ordered[-1] < 0.0:
        raise ValueError("a distortion is above 0, and variances are not below 0.")
    if distortion >= ordered.sum() + rest:
        return 0.0
    # With the first n coded, the level is (D − variances of the others) / n; n is the largest
    # number whose variances all exceed the level.
    after = ordered.sum() + rest - np.cumsum(ordered)
    level = (distortion - after) / np.arange(1, len(ordered) + 1)
    coded = np.flatnonzero((level > 0.0) & (level <= ordered))
    if not len(coded):
        raise ValueError(f"{len(ordered)} components are too few for a distortion of {distortion}.")
    n = int(coded[-1])
    if n == len(ordered) - 1 and rest > 0.0:
        raise ValueError(f"{len(ordered)} components are too few for a distortion of {distortion}.")
    return 0.5 * float(np.sum(np.log2(ordered[: n + 1] / level[n])))


def sawbridge_water_filling(distortion: float) -> float:
    """Returns bits of Gaussians with the variances of the sawbridge's Karhunen–Loève coefficients.

    Its covariance min(s, t) − st is that of the Brownian bridge. Variances are 1/(πk)², k = 1, 2,
    …, with the sum 1/6. The rate of a linear transform code grows with 1/D, that of the optimal
    code with log 1/D.

    >>> round(sawbridge_water_filling(0.02), 2)
    11.27
    """
    if not distortion > 0.0:
        raise ValueError(f"a distortion is above 0; got {distortion}.")
    # Components from the 2/(π²D)th on are not coded.
    count = 16 + math.ceil(0.25 / distortion)
    variances = 1.0 / (math.pi * np.arange(1, count + 1)) ** 2
    return water_filling(variances, distortion, rest=max(1.0 / 6.0 - variances.sum(), 0.0))
