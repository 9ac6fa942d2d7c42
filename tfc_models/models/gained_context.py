"""One model for every rate, with a context or with universal quantization."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfc_models.entropy import (
    GainedAutoregressive,
    GainedChannelwise,
    GainedCheckerboard,
    GainedUniversal,
)
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
from tfc_models.models.ms2020 import slice_networks
from tfc_models.models.registry import register

# Later slices are wider: what comes first tells the most of the others.
SLICE_ENDS = (0.05, 0.1, 0.2, 0.4, 1.0)
SLICE_SIZE = 3


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


@register("gained-channelwise")
class GainedChannelwiseStem4(GainedStem4):
    """`gained-stem4` with a context of channels, in five slices, each told by those before.

    ::

        ŷ of slices before ───┬─ 3×3 ─ 3×3 ─ 3×3 ─ μ, and y − ŷ once ŷ is known
        ẑ ─┬─ 4×4↑2 ─ 4×4↑2 ──┘
           └─ 4×4↑2 ─ 4×4↑2 ──── 3×3 ─ 3×3 ─ 3×3 ─ σ

    See `tfc_models.entropy.channelwise`. Slices grow, as He, Yang, Peng, Ma, Qin, Wang, "ELIC"
    (CVPR 2022) found best: training starts with the latents in the order of their variance.
    """

    registered_name = "gained-channelwise"

    def _coder(
        self,
        hyper_analysis: Chain,
        features: list[Conv2D],
        heads: Conv2D,
        options: tuple[int, int, int, str, str],
    ) -> GainedChannelwise:
        latents = heads.filters // 2
        if latents < len(SLICE_ENDS):
            raise ValueError(f"latents are {len(SLICE_ENDS)} or more, one a slice; got {latents}.")
        # Of the features' width at a quarter of the resolution, a half.
        width, ends = features[1].filters // 4, [0]
        for end in SLICE_ENDS:
            ends.append(max(round(latents * end), ends[-1] + 1))
        scales = [
            Conv2D(layer.filters, layer.size, up=2, activation=leaky_relu, kernel="plain", name=n)
            for layer, n in zip(features, ("conv0", "conv1"))
        ]
        return GainedChannelwise(
            hyper_analysis,
            Chain(features, name="hyper_synthesis"),
            *options,
            scale_synthesis=Chain(scales, name="scale_synthesis"),
            slices=[slice_networks(b - a, width, SLICE_SIZE) for a, b in zip(ends, ends[1:])],
            support=len(SLICE_ENDS),
        )


@register("gained-universal")
class GainedUniversalStem4(GainedStem4):
    """`gained-stem4` with universal quantization in place of rounding (see `mbt2018-universal`)."""

    registered_name = "gained-universal"
    coder_type = GainedUniversal

    def __init__(
        self,
        sharpness: float = 4.0,
        rate_gradient: str = "pathwise",
        quantization: str = "noise",
        **config: Any,
    ) -> None:
        self._own = {"sharpness": sharpness, "rate_gradient": rate_gradient}
        super().__init__(quantization=quantization, **config)
        self._config = (*self._config, *self._own.items())

    def _coder(self, *parts: Any) -> GainedUniversal:
        return super()._coder(*parts, **self._own)
