"""Distortion-perception trade-offs of sources for which they are known.

Blau, Michaeli, "The Perception-Distortion Tradeoff" (CVPR 2018) and "Rethinking Lossy Compression:
The Rate-Distortion-Perception Tradeoff" (ICML 2019); Freirich, Michaeli, Meir, "A Theory of the
Distortion-Perception Tradeoff in Wasserstein Space" (NeurIPS 2021); Zhang, Qian, Chen, Khisti,
"Universal Rate-Distortion-Perception Representations for Lossy Compression" (NeurIPS 2021).

Distortion is the mean squared error of a reconstruction X̂ that a decoder computes from a code Y
and noise. For binary X it is the Hamming distortion. The code is fixed; therefore D = E var(X|Y) +
E(X̂ − X*)², where X* = E[X|Y].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]
# Range of numerical integrals; the mass outside is negligible in double precision.
REACH, CELLS = 9.0, 90_000


class Generator(NamedTuple):
    """f-divergence D(P‖Q) = E_Q f(p/q).

    Attributes:
        f: function of u = p/q.
        ratio: u for which u f'(u) − f(u) exceeds its value at u = 0 by b, if that is finite; for
            the reverse KL divergence, exceeds −1 by b.
        bounded: whether it is finite at u = 0, and b therefore positive.
    """

    f: Function
    ratio: Function
    bounded: bool = True


def _xlogx(u: np.ndarray) -> np.ndarray:
    return u * np.log(np.where(u > 0.0, u, 1.0))


GENERATORS = {
    "kl": Generator(_xlogx, lambda b: b),
    "reverse-kl": Generator(lambda u: -np.log(u), np.exp, bounded=False),
    "pearson": Generator(lambda u: (u - 1.0) ** 2, np.sqrt),
    "jensen-shannon": Generator(
        lambda u: _xlogx(u) - (u + 1.0) * np.log(0.5 * (1.0 + u)), np.expm1
    ),
    "gan": Generator(lambda u: _xlogx(u) - (u + 1.0) * np.log(1.0 + u), np.expm1),
}
"""The divergences of tfc_models.realism.DIVERGENCES, without TensorFlow."""


class Reached(NamedTuple):
    """Point on a trade-off.

    Attributes:
        distortion: mean squared error.
        perception: Wasserstein distance of order 2 between the distributions of X̂ and X, or total
            variation for binary sources.
    """

    distortion: float
    perception: float


def _generator(divergence: str) -> Generator:
    if divergence not in GENERATORS:
        raise ValueError(f"a divergence is one of {', '.join(GENERATORS)}; got {divergence!r}.")
    return GENERATORS[divergence]


def _minimized(cost: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import minimize_scalar

    options = {"xatol": 1e-10 * (high - low)}
    return float(minimize_scalar(cost, bounds=(low, high), method="bounded", options=options).x)


def wasserstein_tradeoff(perception: float, least: float, gap: float) -> float:
    """Returns the least distortion at a Wasserstein distance, for any code, in closed form.

    D(P) = D* + max(W − P, 0)². It is reached on the straight line from X* to its image under
    optimal transport (Freirich, Michaeli, Meir, theorem 1).

    >>> wasserstein_tradeoff(0.0, 0.25, 0.5)
    0.5

    Args:
        perception: Wasserstein distance P.
        least: D*, the least mean squared error.
        gap: W, the distance of X* from X.
    """
    if not (perception >= 0.0 and least >= 0.0 and gap >= 0.0):
        raise ValueError("distances and distortions are 0 or more.")
    return least + max(gap - perception, 0.0) ** 2


def wasserstein_to_normal(samples: np.ndarray) -> float:
    """Returns the exact Wasserstein distance (order 2) of samples to the standard normal.

    The i-th of n sorted samples is transported to the i-th of n parts of equal mass. For samples of
    the normal distribution itself, the distance is about √(ln ln n / n).
    """
    from scipy.special import ndtri

    ordered = np.sort(np.asarray(samples, np.float64).ravel())
    if not len(ordered) or not np.all(np.isfinite(ordered)):
        raise ValueError("a distance needs samples, all of them finite.")
    edges = ndtri(np.linspace(0.0, 1.0, len(ordered) + 1))
    # The mean over an interval is the difference of the densities at its ends.
    density = np.exp(-0.5 * edges**2)
    moments = -np.diff(density) / math.sqrt(2.0 * math.pi)
    return math.sqrt(max(1.0 + np.mean(ordered**2) - 2.0 * ordered @ moments, 0.0))


class Channel:
    """Gaussian channel: X normal with variance 1, Y = X + normal noise; X* is normal, too.

    Attributes:
        rate: mutual information of X and the code, ½ log₂(1 + 1/σ²) bits.
        spread: s, the standard deviation of X*.
        least: D* = 1 − s².
        rest: E var(X|Y), equal to D*.
        gap: W = 1 − s.
    """

    def __init__(self, rate: float) -> None:
        if not 0.0 < rate < math.inf:
            raise ValueError(f"a rate is above 0, and finite; got {rate}.")
        self.rate = rate
        self.least = self.rest = 2.0 ** (-2.0 * rate)
        self.spread = math.sqrt(1.0 - self.least)
        self.gap = 1.0 - self.spread

    def bound(self, perception: float) -> float:
        """Returns the least distortion at a Wasserstein distance."""
        return wasserstein_tradeoff(perception, self.least, self.gap)

    def scaled(self, spread: float) -> Reached:
        """Returns the point of X̂ = X* · spread / s, of standard deviation `spread`."""
        return Reached(self.least + (spread - self.spread) ** 2, abs(1.0 - spread))

    def best(self, gamma: float, divergence: str) -> Reached:
        """Returns the point of least distortion · gamma + divergence among multiples of X*.

        For the reverse KL divergence, no other decoder is better (Jordan, Kinderlehrer and Otto's
        step preserves normal distributions), and ½(t² − 1) − ln t is least at the root of (2γ + 1)
        t² − 2γs t − 1 = 0. For other divergences, better ones are not exactly normal.
        """
        if divergence == "reverse-kl":
            half = gamma * self.spread
            root = math.sqrt(half * half + 2.0 * gamma + 1.0)
            return self.scaled((half + root) / (2.0 * gamma + 1.0))
        f = _generator(divergence).f
        x = (np.arange(CELLS) + 0.5) * (REACH / CELLS)
        p = np.exp(-0.5 * x**2)

        def cost(t: float) -> float:
            q = np.exp(-0.5 * (x / t) ** 2) / t
            value = np.mean(q * f(p / q)) * REACH * math.sqrt(2.0 / math.pi)
            return gamma * (t - self.spread) ** 2 + float(value)

        return self.scaled(_minimized(cost, self.spread, 1.0))


class Sign:
    """One-bit code: X normal with variance 1, Y its sign, and X* = ±√(2/π).

    The decoder needs noise, as X* has only two values.

    Attributes:
        rate: 1.
        level: √(2/π).
        least: D* = 1 − 2/π.
        rest: E var(X|Y), equal to D*.
        gap: W = √D*: optimal transport maps X* back to X, and perfect realism costs twice D*.
    """

    def __init__(self) -> None:
        self.rate = 1.0
        self.level = math.sqrt(2.0 / math.pi)
        self.least = self.rest = 1.0 - 2.0 / math.pi
        self.gap = math.sqrt(self.least)

    def bound(self, perception: float) -> float:
        """Returns the least distortion at a Wasserstein distance."""
        return wasserstein_tradeoff(perception, self.least, self.gap)

    def law(self, gamma: float, divergence: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the distribution of |X̂| that minimizes distortion · gamma + divergence.

        Where X̂ has density q and u = p/q, u f'(u) − f(u) = γ (|x| − √(2/π))² + λ, with a λ for
        which q integrates to 1. For the reverse KL divergence this gives the Gibbs distribution q ∝
        p exp(−γ (|x| − √(2/π))²); for GANs the Bose distribution q = p / (exp(γ (|x| − √(2/π))² +
        λ) − 1).

        Returns:
            x, the centers of small cells of one size, and the mass of q in each.
        """
        from scipy.optimize import brentq

        generator = _generator(divergence)
        x = (np.arange(CELLS) + 0.5) * (REACH / CELLS)
        p = np.exp(-0.5 * x**2)
        p /= p.sum()
        cost = gamma * (x - self.level) ** 2

        def masses(level: float) -> np.ndarray:
            # λ is near 0 for large gammas, so the search is over its logarithm.
            level = math.exp(level) if generator.bounded else level
            return p / generator.ratio(np.minimum(cost + level, 600.0))

        q = masses(brentq(lambda level: math.log(masses(level).sum()), -40.0, 6.0, xtol=1e-12))
        return x, q / q.sum()

    def best(self, gamma: float, divergence: str) -> Reached:
        """Returns the point of the best distribution."""
        from scipy.special import ndtri

        x, q = self.law(gamma, divergence)
        # Transport of each cell's center, at the center of its mass.
        quantiles = ndtri(0.5 + 0.5 * (np.cumsum(q) - 0.5 * q).clip(0.0, 1.0 - 1e-16))
        distance = math.sqrt(float(q @ (x - quantiles) ** 2))
        return Reached(self.least + float(q @ (x - self.level) ** 2), distance)


class Binary:
    """Binary source: X is 1 with probability p; Y has the least rate for its share of errors.

    Attributes:
        probability: p, below ½ (at ½, the best code has X's distribution anyway).
        least: share of errors of X̂ = Y.
        rest: E var(X|Y), less than `least`, as X* is neither 0 nor 1.
        rate: h(p) − h(least) bits.
        ones: share of ones in Y, (p − least) / (1 − 2 least), less than in X.
        gap: p − ones, the total variation of X̂ = Y.
    """

    def __init__(self, probability: float, least: float) -> None:
        if not 0.0 < least < probability < 0.5:
            raise ValueError(
                "the share of errors must be below that of ones, and that below 0.5: 0 < least < "
                f"probability < 0.5; got {least} and {probability}."
            )
        self.probability, self.least = probability, least
        self.rest = least * (1.0 - least)
        self.rate = binary_rate(probability, least, probability)
        self.ones = (probability - least) / (1.0 - 2.0 * least)
        self.gap = probability - self.ones

    def bound(self, perception: float) -> float:
        """Returns the least distortion at a total variation; linear, as some zeros become ones.

        A share `least` of Y's zeros are ones of X. Each zero that becomes a one therefore adds 1 −
        2 least errors.
        """
        return self.least + (1.0 - 2.0 * self.least) * max(self.gap - perception, 0.0)

    def best(self, gamma: float, divergence: str) -> Reached:
        """Returns the point of least distortion · gamma + divergence."""
        f = _generator(divergence).f
        p = np.array([1.0 - self.probability, self.probability])

        def cost(ones: float) -> float:
            q = np.array([1.0 - ones, ones])
            value = float(q @ f(p / q))
            return gamma * self.bound(self.probability - ones) + value

        perception = self.probability - _minimized(cost, self.ones, self.probability)
        return Reached(self.bound(perception), perception)


def _entropy(*masses: float) -> float:
    return -sum(m * math.log2(m) for m in masses if m > 0.0)


def binary_rate(probability: float, distortion: float, perception: float) -> float:
    """Returns bits of a binary source by the rate-distortion-perception function.

    The share of errors is at most `distortion`, and the total variation at most `perception`.
    Without the latter, the best X̂ has fewer ones than X. If that is not allowed, X̂ has p − P of
    them: (D + P)/2 ones are lost and (D − P)/2 are new.

    >>> binary_rate(0.5, 0.11, 0.0) == binary_rate(0.5, 0.11, 1.0)  # for half, it is free
    True

    Args:
        probability: probability of a one, at most ½.
        distortion: D.
        perception: P.
    """
    p = probability
    if not 0.0 < p <= 0.5:
        raise ValueError(f"a probability is above 0 and at most a half; got {p}.")
    if not (distortion >= 0.0 and perception >= 0.0):
        raise ValueError("distortion and perception are 0 or more.")
    ones = max(p - perception, 0.0)
    # Without a code, ones are independent of X's.
    if distortion >= p + ones - 2.0 * p * ones:
        return 0.0
    if distortion < p and p - distortion >= ones * (1.0 - 2.0 * distortion):
        return _entropy(p, 1.0 - p) - _entropy(distortion, 1.0 - distortion)
    lost, new = 0.5 * (distortion + p - ones), 0.5 * (distortion - p + ones)
    joint = _entropy(p - lost, lost, new, 1.0 - p - new)
    return _entropy(p, 1.0 - p) + _entropy(ones, 1.0 - ones) - joint
