"""Tensors as integers times steps."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tfc_models.weights import fourier
from tfc_models.weights.steps import steps_of

DIRECT, FOURIER = "direct", "fourier"
LARGEST_KERNEL = 4096
"""Largest number of taps of a kernel with a Fourier transform."""
LARGEST_INTEGER = 2**24
"""Bound of integers that float32 represents exactly."""


class CodedTensor(NamedTuple):
    """Rounded tensor: integers × row steps × column steps.

    Attributes:
        shape: of the tensor.
        integers: rows × columns, int32.
        row_codes: codes of one step per row, or of one step for all.
        column_codes: codes of one step per column, or of one step for all.
        transform: "direct": the product is the tensor. "fourier": rows are frequencies of the
            spatial axes, which are all axes but the last two.
    """

    shape: tuple[int, ...]
    integers: np.ndarray
    row_codes: np.ndarray
    column_codes: np.ndarray
    transform: str = DIRECT

    @property
    def value(self) -> np.ndarray:
        """The tensor, float32, the same on every machine."""
        rows, columns = steps_of(self.row_codes), steps_of(self.column_codes)
        # Both products are rounded to float32 by IEEE 754's rules.
        product = self.integers.astype(np.float32) * rows[:, None] * columns[None, :]
        if self.transform == FOURIER:
            product = fourier.inverse(product, self.shape[:-2])
        return product.reshape(self.shape)

    @property
    def entropy_bits(self) -> float:
        """Bits of the integers with one table, or one for each spatial position if fewer."""
        if not self.integers.size:
            return 0.0
        positions = math.prod(self.shape[:-2]) if len(self.shape) > 2 else 1
        by_position = sum(map(_entropy_bits, self.integers.reshape(positions, -1)))
        return min(_entropy_bits(self.integers), by_position)


def _entropy_bits(integers: np.ndarray) -> float:
    counts = np.unique(integers, return_counts=True)[1]
    return float(-np.log2(counts / max(integers.size, 1)) @ counts)


def checked_integers(values: np.ndarray, name: str) -> np.ndarray:
    """Returns rounded values as int32. Raises ValueError if they are no small integers."""
    if not np.all(np.abs(values) < LARGEST_INTEGER):
        raise ValueError(f"{name} has values beyond 2^24 steps: use a larger step.")
    return values.astype(np.int32)


def check(tensor: CodedTensor) -> None:
    """Raises ValueError if the parts of a tensor do not fit together."""
    rows, columns = tensor.integers.shape
    if rows * columns != math.prod(tensor.shape):
        raise ValueError(f"{rows}×{columns} integers are not a tensor of shape {tensor.shape}.")
    if tensor.transform not in (DIRECT, FOURIER):
        raise ValueError(f"transform is {DIRECT} or {FOURIER}; got {tensor.transform!r}.")
    if len(tensor.row_codes) not in (1, rows) or len(tensor.column_codes) not in (1, columns):
        raise ValueError("there must be one step, or one for each row or column.")
    if tensor.transform == FOURIER and rows > LARGEST_KERNEL:
        raise ValueError(f"a kernel of {rows} taps is too large for a Fourier transform.")
    if tensor.transform == FOURIER and rows != math.prod(tensor.shape[:-2]):
        raise ValueError(f"{rows} rows are not the frequencies of a kernel of {tensor.shape}.")
