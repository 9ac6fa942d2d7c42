"""Models of many rates with a context, or with universal quantization."""

from __future__ import annotations

from tfc_models.entropy import (
    Checkerboard,
    ContextPrediction,
    HyperPrediction,
    JointSlice,
    Raster,
    Rounding,
    UniversalQuantization,
)
from tfc_models.layers import Chain, Conv2D, MaskedConv2D, leaky_relu
from tfc_models.models.gained import GainedStem4
from tfc_models.models.ms2020 import slice_networks
from tfc_models.models.registry import register

# Later slices are wider, because the first ones help most to predict the others.
SLICE_ENDS = (0.05, 0.1, 0.2, 0.4, 1.0)
SLICE_SIZE = 3


def _context_in_space(
    features: list[Conv2D], heads: Conv2D, order: Checkerboard | Raster, size: int
) -> ContextPrediction:
    """Returns a prediction whose weights can start from those of `gained-stem4`."""
    width = features[0].filters
    part = JointSlice(
        [Conv2D(width, 1, activation=leaky_relu, kernel="plain", name="mix"), heads],
        MaskedConv2D(width, order.mask(size), activation=leaky_relu, kernel="plain", name="near"),
        order,
        repeats_inputs=True,
        marks_known=not order.sequential,
    )
    return ContextPrediction(Chain(features, name="hyper_synthesis"), [part])


@register("gained-checkerboard")
class GainedCheckerboard(GainedStem4):
    """`gained-stem4` with a checkerboard context.

    ::

        ŷ on squares of one colour ─ 3×3 ─┐
        ẑ ─ 4×4↑2 ─ 4×4↑2 ─┬──────────────┴─ 1×1 ─┐
                           └──────────────────────┴─ 1×1 ─ (σ, μ) of the other colour

    Without the upper row it is `gained-stem4`. Training can start from the weights of that model.
    """

    def prediction(self, features: list[Conv2D], heads: Conv2D) -> HyperPrediction:
        """See the base class."""
        return _context_in_space(features, heads, Checkerboard(), 3)


@register("gained-raster")
class GainedRaster(GainedStem4):
    """`gained-stem4` with a context in raster order, decoded by wavefront.

    ::

        ŷ above and to the left ─ 5×5 ─┐
        ẑ ─ 4×4↑2 ─ 4×4↑2 ─┬───────────┴─ 1×1 ─┐
                           └───────────────────┴─ 1×1 ─ (σ, μ)

    Training can start from the weights of `gained-stem4`.
    """

    def prediction(self, features: list[Conv2D], heads: Conv2D) -> HyperPrediction:
        """See the base class."""
        return _context_in_space(features, heads, Raster(5), 5)

    def quantizer(self, mode: str, distribution: str) -> Rounding:
        """See the base class."""
        return Rounding(mode, distribution, around_means=False)


@register("gained-channelwise")
class GainedChannelwise(GainedStem4):
    """`gained-stem4` with a context across channels, in five slices.

    ::

        ŷ of slices before ───┬─ 3×3 ─ 3×3 ─ 3×3 ─ μ, and y − ŷ once ŷ is decoded
        ẑ ─┬─ 4×4↑2 ─ 4×4↑2 ──┘
           └─ 4×4↑2 ─ 4×4↑2 ──── 3×3 ─ 3×3 ─ 3×3 ─ σ

    Slices grow, as in He, Yang, Peng, Ma, Qin, Wang, "ELIC" (CVPR 2022): training starts
    with the latents in the order of their variance.
    """

    def prediction(self, features: list[Conv2D], heads: Conv2D) -> HyperPrediction:
        """See the base class."""
        latents = heads.filters // 2
        if latents < len(SLICE_ENDS):
            raise ValueError(f"latents are {len(SLICE_ENDS)} or more, one a slice; got {latents}.")
        # Half of the features' width at a quarter of the resolution.
        width, ends = features[1].filters // 4, [0]
        for end in SLICE_ENDS:
            ends.append(max(round(latents * end), ends[-1] + 1))
        scales = [
            Conv2D(layer.filters, layer.size, up=2, activation=leaky_relu, kernel="plain", name=n)
            for layer, n in zip(features, ("conv0", "conv1"))
        ]
        return ContextPrediction(
            {
                "": Chain(features, name="hyper_synthesis"),
                "scales": Chain(scales, name="scale_synthesis"),
            },
            [slice_networks(b - a, width, SLICE_SIZE) for a, b in zip(ends, ends[1:])],
        )


@register("gained-universal")
class GainedUniversal(GainedStem4):
    """`gained-stem4` with universal quantization in place of rounding (see `mbt2018-universal`)."""

    def __init__(
        self,
        channels: int = 128,
        latents: int = 320,
        lmbda: float | None = None,
        span: float = 128.0,
        levels: int = 8,
        blocks: int = 2,
        distortion: str = "mse",
        kernel: str = "plain",
        quantization: str = "noise",
        distribution: str = "gaussian",
        sharpness: float = 4.0,
        rate_gradient: str = "pathwise",
    ) -> None:
        if (quantization, distribution) != ("noise", "gaussian"):
            raise ValueError("universal quantization is for gaussian latents, trained with noise.")
        self._universal = UniversalQuantization(sharpness, rate_gradient)
        super().__init__(
            *(channels, latents, lmbda, span, levels, blocks, distortion, kernel),
            *(quantization, distribution),
        )

    def quantizer(self, mode: str, distribution: str) -> Rounding:
        """See the base class."""
        return self._universal
