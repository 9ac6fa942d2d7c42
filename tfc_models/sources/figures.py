"""Measurements of codes on many samples of a small source."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.sources.compressors import Compressor

CHUNK = 2**15


class Figures(NamedTuple):
    """Means per sample.

    Attributes:
        bits: bits of the symbols by the probabilities of the code's priors.
        coded: bits of the range coder's bytes.
        joint: empirical joint entropy of all symbols of a sample.
        distortion: squared error.
    """

    bits: float
    coded: float
    joint: float
    distortion: float

    def cost(self, lmbda: float) -> float:
        """Returns bits + lmbda · distortion."""
        return self.bits + lmbda * self.distortion


def measured(code: Compressor, samples: np.ndarray, lmbda: float | None = None) -> Figures:
    """Measures a code on samples that it was not trained on.

    The empirical joint entropy of n samples is too small by about (k − 1) / (2n ln 2) bits for k
    distinct codes. With dither, which the decoder knows, it is not a bound on the bits.
    """
    bits, error, size, symbols = [], [], 0, []
    for start in range(0, len(samples), CHUNK):
        chunk = tf.constant(samples[start : start + CHUNK])
        coded = code.coded(chunk, lmbda)
        bits.append(coded.rate.numpy())
        error.append(coded.distortion.numpy())
        size += 8 * len(code.compress(chunk, lmbda))
        symbols.append(code.symbols(chunk, lmbda).numpy())
    _, counts = np.unique(np.concatenate(symbols), axis=0, return_counts=True)
    shares = counts / counts.sum()
    return Figures(
        float(np.concatenate(bits).mean()),
        size / len(samples),
        float(-np.sum(shares * np.log2(shares))),
        float(np.concatenate(error).mean()),
    )
