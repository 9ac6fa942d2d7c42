"""Rounding of weights without training."""

from __future__ import annotations

import math

import numpy as np

from tfc_models.weights import fourier
from tfc_models.weights.coded_tensor import FOURIER, CodedTensor, checked_integers
from tfc_models.weights.steps import nearest_codes, steps_of


def rounded_tensor(value: np.ndarray, step: float, transform: str, name: str) -> CodedTensor:
    """Returns a weight as integers, with one step that is a share of its standard deviation.

    Args:
        value: the weight.
        step: the share.
        transform: "direct" or "fourier" (see `CodedTensor`).
        name: of the weight, for error messages.
    """
    if not np.all(np.isfinite(value)):
        raise ValueError(f"{name} holds values that are not finite numbers.")
    if not 0.0 < step < math.inf:
        raise ValueError(f"step must be above 0; got {step}.")
    groups = math.prod(value.shape[:-2]) if transform == FOURIER else 1
    latent = value.reshape(groups, -1).astype(np.float64)
    if transform == FOURIER:
        latent = fourier.basis(value.shape[:-2]) @ latent
    deviation = float(np.std(latent)) if latent.size else 0.0
    # Constants are stored exactly, or nearly so.
    largest = float(np.abs(latent).max()) if latent.size else 0.0
    absolute = step * deviation if deviation else largest or 1.0
    codes = nearest_codes(np.array([absolute]))
    integers = checked_integers(np.rint(latent / steps_of(codes)), name)
    return CodedTensor(value.shape, integers, codes, np.zeros(1, np.int32), transform)
