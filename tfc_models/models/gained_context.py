"""One model for every rate, with a context: what is decoded first tells of what comes later."""

from __future__ import annotations

import numpy as np

from tfc_models.entropy import GainedAutoregressive, GainedCheckerboard
from tfc_models.entropy.context import GainedContext
from tfc_models.layers import (
    Chain,
    Conv2D,
    MaskedConv2D,
    checkerboard_mask,
    leaky_relu,
    raster_mask,
)
from tfc_models.models.gained import GainedStem4
from tfc_models.models.registry import register


class _WithContext(GainedStem4):
    """`gained-stem4` whose coder reads latents, too, through a mask."""

    coder_type: type[GainedContext]
    context_mask: np.ndarray

    def _coder(
        self,
        hyper_analysis: Chain,
        features: list[Conv2D],
        heads: Conv2D,
        options: tuple[int, int, int, str, str],
    ) -> GainedContext:
        width = features[0].filters
        near = MaskedConv2D(
            width, self.context_mask, activation=leaky_relu, kernel="plain", name="near"
        )
        mix = Conv2D(width, 1, activation=leaky_relu, kernel="plain", name="mix")
        hyper_synthesis = Chain(features, name="hyper_synthesis")
        return self.coder_type(
            hyper_analysis, hyper_synthesis, *options, context=near, parameters=[mix, heads]
        )


@register("gained-checkerboard")
class GainedCheckerboardStem4(_WithContext):
    """`gained-stem4` with a checkerboard: the second half of ŷ is told by the first, too.

    ::

        ŷ on squares of one colour ─ 3×3 ─┐
        ẑ ─ 4×4↑2 ─ 4×4↑2 ─┬──────────────┴─ 1×1 ─┐
                           └──────────────────────┴─ 1×1 ─ (σ, μ) of the other colour

    See `tfc_models.entropy.checkerboard`. Without the upper row it is `gained-stem4`, whose
    weights it can start from.
    """

    registered_name = "gained-checkerboard"
    coder_type = GainedCheckerboard
    context_mask = checkerboard_mask(3)


@register("gained-raster")
class GainedAutoregressiveStem4(_WithContext):
    """`gained-stem4` with a context in raster order, decoded by wavefront.

    ::

        ŷ above and to the left ─ 5×5 ─┐
        ẑ ─ 4×4↑2 ─ 4×4↑2 ─┬───────────┴─ 1×1 ─┐
                           └───────────────────┴─ 1×1 ─ (σ, μ)

    See `tfc_models.entropy.autoregressive`. It, too, can start from `gained-stem4`.
    """

    registered_name = "gained-raster"
    coder_type = GainedAutoregressive
    context_mask = raster_mask(5)
