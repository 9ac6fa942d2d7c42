"""What a code of a small source takes and leaves, over many samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.sources.compressors import Compressor

CHUNK = 2**15


class Figures(NamedTuple):
    """Of a sample, on average.

    Attributes:
        bits: that its symbols' probabilities under the code's priors stand for.
        coded: of the bytes that the range coder made.
        joint: the entropy of all symbols of a sample together, as often as they were seen.
        distortion: its squared error.
    """

    bits: float
    coded: float
    joint: float
    distortion: float

    def cost(self, lmbda: float) -> float:
        """Bits and what the error is worth."""
        return self.bits + lmbda * self.distortion


def measured(code: Compressor, samples: np.ndarray, lmbda: float | None = None) -> Figures:
    """Of a code on samples that it was not trained on.

    The joint entropy of n samples is that of what was seen: too small by about (k − 1) / (2n ln 2)
    bits where k different codes were seen. With dither, which the decoder knows, it is not what
    symbols need.
    """
    bits, error, size, seen = [], [], 0, []
    for start in range(0, len(samples), CHUNK):
        chunk = tf.constant(samples[start : start + CHUNK])
        coded = code.coded(chunk, lmbda)
        bits.append(coded.rate.numpy())
        error.append(coded.distortion.numpy())
        size += 8 * len(code.compress(chunk, lmbda))
        seen.append(code.symbols(chunk, lmbda).numpy())
    _, counts = np.unique(np.concatenate(seen), axis=0, return_counts=True)
    shares = counts / counts.sum()
    return Figures(
        float(np.concatenate(bits).mean()),
        size / len(samples),
        float(-np.sum(shares * np.log2(shares))),
        float(np.concatenate(error).mean()),
    )
