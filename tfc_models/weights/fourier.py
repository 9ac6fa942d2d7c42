"""Real orthonormal Fourier transform of the spatial axes of convolution kernels."""

from __future__ import annotations

import functools

import numpy as np

FRACTION_BITS = 24


@functools.cache
def basis(sides: tuple[int, ...]) -> np.ndarray:
    """Returns one row for each frequency of kernels with the given sides.

    A pair of opposite frequencies has one row of cosines and one of sines. Entries are multiples of
    2^-24, so that libraries which compute cosines differently give the same matrix.
    """
    positions = np.indices(sides).reshape(len(sides), -1)
    rows = []
    for frequency in np.ndindex(*sides):
        opposite = tuple(-u % side for u, side in zip(frequency, sides))
        turns = sum(u * x / side for u, x, side in zip(frequency, positions, sides))
        wave = np.cos if frequency <= opposite else np.sin
        row = wave(2.0 * np.pi * turns)
        rows.append(row / np.sqrt(np.sum(row**2)))
    return np.rint(np.stack(rows) * 2.0**FRACTION_BITS) / 2.0**FRACTION_BITS


def inverse(coefficients: np.ndarray, sides: tuple[int, ...]) -> np.ndarray:
    """Returns kernels, taps × others, of coefficients, frequencies × others.

    Sums are float64 and taken in a fixed order, so that the result is the same on every machine.
    """
    rows = basis(sides)
    taps = np.zeros(coefficients.shape, np.float64)
    for row, coefficient in zip(rows, coefficients.astype(np.float64)):
        taps += row[:, None] * coefficient[None, :]
    return taps.astype(np.float32)
