"""Pyramids of the published PIM: convolutions with the sp1 filters, or a Laplacian pyramid.

Both take batches NHWC of any size and return bands from the finest to the coarsest. They analyze
only; `pyramids` has pyramids with an inverse.

The sp1 filters: Simoncelli, Freeman, "The Steerable Pyramid" (ICIP 1995), designed as in
Karasaridis, Simoncelli (ICASSP 1996). Coefficients: matlabPyrTools and pyrtools, Copyright (c) 2016
Lab for Computational Vision, MIT license.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

SCALES = 3

# Symmetric filters: row i, column j ≤ i of the lower right octant, from the centre.
_HIGH_0 = (
    (0.7282593,),
    (-0.1562827, -0.0784137),
    (-0.00589778, 0.01094866, 0.01706347),
    (0.01098012, 0.00915642, 0.00089986, -0.00431753),
    (-0.00116681, -0.00087426, -0.00142472, -0.00024241, -0.000957),
)
_LOW_0 = (
    (0.437625,),
    (0.1811603, 0.0438132),
    (-0.03297137, -0.03769487, -0.00706129),
    (0.00110762, 0.00822442, 0.00752272, 0.00292158),
    (0.00252401, -0.00050337, -0.00160126, -0.00135428, -0.00008701),
)
_LOW = (
    (0.2120374,),
    (0.1773651, 0.14455),
    (0.09058014, 0.06806584, 0.0219066),
    (0.01438512, 0.00395566, -0.0110917, -0.02022938),
    (-0.01648568, -0.01750818, -0.01884744, -0.0126042, -0.00353064),
    (-0.00963722, -0.00905692, -0.0074317, -0.00177748, 0.00318468, 0.00317578),
    (0.00055382, 0.00222122, 0.0041122, 0.00308098, 0.00376136, 0.00216054, 0.00146078),
    (
        0.0055894, 0.00428728, 0.00288986, 0.00232554,
        -0.00013688, 0.00056216, -0.00058146, 0.00044606,
    ),
    (
        0.001262, -0.0004202, -0.00025168, -0.00159704,
        -0.00080064, -0.00012434, -0.00067714, 0.00012078, -0.0000435,
    ),
)  # fmt: skip
# Derivative along x: rows from the centre down, columns to the right of the centre. It is even in y
# and odd in x.
_ORIENTED = (
    (0.2996168, -0.02076086, 0.00187262, -0.01851466),
    (0.1265655, -0.05375324, 0.00600945, -0.0153689),
    (-0.01836909, -0.0238218, 0.01023569, -0.02103714),
    (-0.00175117, 0.0041684, -0.00961152, -0.0080526),
    (-0.00895726, -0.00564153, -0.01287416, 0.00612588),
)


class Frontend(Protocol):
    """Interface of pyramids with `count` bands."""

    count: int
    gains: tuple[float, ...]
    """Inverse standard deviation of each band in photos of range 0 to 1."""

    def __call__(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Returns the bands, finest first."""


class Sp1Pyramid:
    """Steerable pyramid: high-pass band, two orientations per scale, low-pass residual.

    Each scale convolves with the filters as they are, with zeros beyond the borders ("SAME"). The
    low-pass filter between scales has a gain of 2 at frequency 0.
    """

    count = 2 * SCALES + 2
    gains: tuple[float, ...] = (50.0, 40.0, 40.0, 15.0, 15.0, 6.0, 6.0, 0.6)

    def __init__(self) -> None:
        self._high_0, self._low_0, self._low = map(_octants, (_HIGH_0, _LOW_0, _LOW))
        half = np.array(_ORIENTED, np.float32)
        right = np.concatenate([half[:0:-1], half])
        along_x = np.concatenate([-right[:, ::-1], np.zeros([len(right), 1], "f4"), right], axis=1)
        self._oriented = along_x, -along_x.T

    def __call__(self, images: tf.Tensor) -> list[tf.Tensor]:
        """See `Frontend`."""
        bands = [_filtered(images, self._high_0)]
        rest = _filtered(images, self._low_0)
        for _ in range(SCALES):
            bands += [_filtered(rest, kernel) for kernel in self._oriented]
            rest = _filtered(rest, self._low, step=2)
        return [*bands, rest]


class BinomialPyramid:
    """Laplacian pyramid with the filter [1 2 1]/4 and no padding.

    The bands lose the two pixels along each border that the filter does not reach. The coarsest
    band is the low-pass residual.
    """

    count = SCALES
    gains: tuple[float, ...] = (30.0, 27.0, 5.0)

    def __init__(self) -> None:
        line = np.array([1, 2, 1], np.float32) / 4
        self._kernel = np.outer(line, line)

    def __call__(self, images: tf.Tensor) -> list[tf.Tensor]:
        """See `Frontend`."""
        rest, bands = images, []
        for _ in range(SCALES - 1):
            kernel = _of_channels(self._kernel, rest.shape[-1])
            half = tf.nn.depthwise_conv2d(rest, kernel, [1, 2, 2, 1], "VALID")
            inner = rest[:, 2:-2, 2:-2]
            border = [[0, 0], [2, 2], [2, 2], [0, 0]]
            again = tf.nn.depthwise_conv2d_backprop_input(
                tf.shape(inner), 4.0 * kernel, half, [1, 2, 2, 1], border
            )
            bands.append(inner - again)
            rest = half
        return [*bands, rest]


FRONTENDS: dict[str, Callable[[], Frontend]] = {
    "steerable": Sp1Pyramid,
    "laplacian": BinomialPyramid,
}


def _octants(rows: tuple[tuple[float, ...], ...]) -> np.ndarray:
    """Returns the whole symmetric filter of a lower right octant."""
    side = len(rows)
    distance = np.abs(np.arange(1 - side, side))
    near, far = np.minimum.outer(distance, distance), np.maximum.outer(distance, distance)
    table = np.zeros([side, side], np.float32)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table[far, near]


def _of_channels(kernel: np.ndarray, channels: int) -> tf.Tensor:
    return tf.constant(np.tile(kernel[:, :, None, None], [1, 1, channels, 1]))


def _filtered(maps: tf.Tensor, kernel: np.ndarray, step: int = 1) -> tf.Tensor:
    """Correlates every channel with the kernel, centered on each retained sample."""
    margin = len(kernel) // 2
    border = [[0, 0], [margin, margin], [margin, margin], [0, 0]]
    kernel = _of_channels(kernel, maps.shape[-1])
    return tf.nn.depthwise_conv2d(maps, kernel, [1, step, step, 1], border)
