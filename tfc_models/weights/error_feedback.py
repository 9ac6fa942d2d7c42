"""Rounding of a trained layer's weights with feedback of rounding errors.

The outputs of a layer are x·W. Rounding an element of W changes them by the error times one input.
As inputs are correlated, the weights that are rounded later can compensate most of it (the
nearest-plane method of Babai, 1986; applied to networks by Frantar et al., "GPTQ", 2022). With a
step for each input, inversely proportional to the part of the input that the later ones do not
explain, all weights have the same influence on the loss, which takes the fewest bits.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from tfc_models.weights.coded_tensor import checked_integers
from tfc_models.weights.steps import nearest_codes, steps_of

BLOCK = 64
DAMPING = 1e-4  # of the mean variance; inputs may be constant


class InputStatistics:
    """Decomposition of the second moments of a layer's inputs.

    Args:
        moments: mean of xᵀx, inputs × inputs.
    """

    def __init__(self, moments: np.ndarray) -> None:
        size = len(moments)
        damping = DAMPING * max(np.trace(moments) / size, 1e-12)
        damped = moments.astype(np.float64) + damping * np.eye(size)
        inverse = scipy.linalg.inv(damped, check_finite=False)
        self.feedback = scipy.linalg.cholesky(inverse, lower=False, check_finite=False)

    @property
    def unexplained(self) -> np.ndarray:
        """Standard deviation of each input given all later ones."""
        return 1.0 / np.diag(self.feedback)


def rounded(
    weights: np.ndarray,
    inputs: InputStatistics,
    curvature: np.ndarray,
    step: float,
    zero_bias: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns integers, codes of row steps and codes of column steps.

    Args:
        weights: inputs × outputs.
        inputs: statistics of the inputs.
        curvature: second derivative of the loss by each output, summed over positions.
        step: step in units of the square root of the loss.
        zero_bias: by how much the rounding threshold exceeds 1/2, which favours small integers.
    """
    largest = max(float(curvature.max()), 1e-30)
    row_codes = nearest_codes(1.0 / inputs.unexplained)
    column_codes = nearest_codes(step / np.sqrt(curvature + 1e-9 * largest))
    rows, columns = steps_of(row_codes), steps_of(column_codes)
    remaining = weights.astype(np.float64)
    integers = np.zeros(weights.shape)
    feedback = inputs.feedback
    for start in range(0, len(weights), BLOCK):
        end = min(start + BLOCK, len(weights))
        errors = np.zeros((end - start, weights.shape[1]))
        for i in range(start, end):
            steps = rows[i] * columns
            ratio = remaining[i] / steps
            integers[i] = np.sign(ratio) * np.floor(np.abs(ratio) + 0.5 - zero_bias)
            errors[i - start] = (remaining[i] - integers[i] * steps) / feedback[i, i]
            remaining[i + 1 : end] -= np.outer(feedback[i, i + 1 : end], errors[i - start])
        remaining[end:] -= feedback[start:end, end:].T @ errors
    return checked_integers(integers, "a kernel"), row_codes, column_codes
