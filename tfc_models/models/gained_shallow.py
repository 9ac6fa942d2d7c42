"""Deep analysis and shallow synthesis, for fast decoding.

The synthesis is the two-layer one of Yang, Mandt, "Computationally-Efficient Neural Image
Compression with Shallow Decoders" (ICCV 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tfc_models.layers import GDN, CompressionLayer, Conv2D, GainedResidual, Residual
from tfc_models.models.gained_context import GainedCheckerboard
from tfc_models.models.registry import register

FIRST_UP, LAST_UP = 8, 2  # upsampling of the two layers


@register("gained-shallow")
class GainedShallow(GainedCheckerboard):
    """`gained-checkerboard` with a synthesis of two layers.

    ::

        ŷ ─ ×g'(r) ─┬─ 13×13↑8 ─ inverse GDN ─ + ─ 5×5↑2 ─ x̂
                    └─ 13×13↑8 ────────────────┘

    Without the upper branch the synthesis is an overlapped linear transform. With 12 or more
    `maps` it can represent the inverse of every linear transform of 16×16 blocks. Training starts
    with one.

    The paper has the analysis of ELIC, a mean-scale hyperprior and a model for each rate. Here the
    analysis, the checkerboard context and the gains are those of `gained-checkerboard`. The
    arguments `channels` and `blocks` are those of the analysis and of the entropy coder.
    `maps` is the number of channels between the two layers, `first_size` and `last_size` the sizes
    of their kernels.
    """

    def __init__(
        self,
        channels: int = 80,
        latents: int = 256,
        lmbda: float | None = None,
        span: float = 128.0,
        levels: int = 8,
        blocks: int = 2,
        distortion: str = "mse",
        kernel: str = "plain",
        quantization: str = "mixed",
        distribution: str = "gaussian",
        maps: int = 12,
        first_size: int = 13,
        last_size: int = 5,
    ) -> None:
        if maps < 1:
            raise ValueError(f"maps is a whole number from 1 on; got {maps!r}.")
        self._maps, self._sizes = maps, (first_size, last_size)
        super().__init__(
            *(channels, latents, lmbda, span, levels, blocks, distortion, kernel),
            *(quantization, distribution),
        )
        # Reach of the analysis in latents, which is longer than that of the synthesis: 1/8 for
        # conv0, 1/2 for each of its blocks; 1/4 for conv1 and 1 for each of its blocks; 1/2 for
        # conv2 and 1 for its block.
        self.halo = 2 + math.ceil(1.5 * blocks)

    def synthesis_layers(
        self, row: Callable[[int], list[GainedResidual]], channels: int, kernel: str
    ) -> list[CompressionLayer]:
        """See the base class."""
        first, last = self._sizes
        igdn = GDN(inverse=True, name="igdn")
        # Training starts near the identity, as in residual blocks.
        igdn.parameter_group = "blocks"
        conv = Conv2D(self._maps, first, up=FIRST_UP, kernel=kernel, name="conv")
        linear = Conv2D(self._maps, first, up=FIRST_UP, kernel=kernel, name="linear")
        return [
            Residual([conv, igdn], name="conv1", skip=linear),
            Conv2D(3, last, up=LAST_UP, kernel=kernel, name="conv0"),
        ]
