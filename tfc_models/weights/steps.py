"""Quantization steps as integer codes: (4 + code mod 4) / 4 · 2^⌊code / 4⌋.

A step takes about one byte in a file. Its value is the same on every machine, because it is a
float32 with two fraction bits.
"""

from __future__ import annotations

import numpy as np

CODES_PER_OCTAVE = 4
SMALLEST_CODE, LARGEST_CODE = -100 * CODES_PER_OCTAVE, 100 * CODES_PER_OCTAVE


def steps_of(codes: np.ndarray) -> np.ndarray:
    """Returns the float32 steps of codes."""
    octave, fraction = np.divmod(np.asarray(codes, np.int32), CODES_PER_OCTAVE)
    return np.ldexp(1.0 + fraction / CODES_PER_OCTAVE, octave).astype(np.float32)


def nearest_codes(steps: np.ndarray) -> np.ndarray:
    """Returns the codes whose steps are nearest to positive numbers."""
    steps = np.asarray(steps, np.float64)
    if not (np.all(np.isfinite(steps)) and np.all(steps > 0)):
        raise ValueError("steps must be positive numbers.")
    fraction, exponent = np.frexp(steps)
    codes = CODES_PER_OCTAVE * (exponent - 1) + np.rint(CODES_PER_OCTAVE * (2.0 * fraction - 1.0))
    return np.clip(codes, SMALLEST_CODE, LARGEST_CODE).astype(np.int32)
