"""Context across channels.

Minnen, Singh, "Channel-wise Autoregressive Entropy Models for Learned Image Compression",
ICIP 2020.
"""

from __future__ import annotations

from tfc_models.entropy import ContextPrediction, LatentCoder, Rounding, SeparateSlice
from tfc_models.layers import Chain, Conv2D, relu
from tfc_models.models.base import CompressionModel
from tfc_models.models.registry import register
from tfc_models.models.transforms import analysis_transform, synthesis_transform


@register("ms2020")
class Ms2020(CompressionModel):
    """Context across channels: z and the slices before predict each slice of ŷ.

    ::

        x ─ analysis ─ y ─┬───────────┬───────────────[ N(μ, σ²) ]─ ŷ + tanh(·)/2 ─ synthesis ─ x̂
                          │           │                    │σ, μ
                          │           └─ ŷ of slices before ─ k×k ─ k×k ─ 3×3
                          └─ h_a ─ z ─[ factorized ]─ ẑ ─ h_s ─┘

    `latents`, `slices` and `support` (the number of slices that others read) are the paper's. Its
    networks have `channels=192, width=224, size=5`; the defaults are narrower, for decoding on a
    CPU.
    """

    def __init__(
        self,
        channels: int = 128,
        latents: int = 320,
        slices: int = 10,
        support: int = 5,
        width: int = 64,
        size: int = 3,
        lmbda: float | None = None,
        distortion: str = "mse",
        gdn: str = "gdn",
        kernel: str = "rdft",
        quantization: str = "mixed",
        distribution: str = "gaussian",
    ) -> None:
        if not 1 <= slices <= latents:
            raise ValueError(f"slices is 1 to the number of latents, {latents}; got {slices}.")
        if support < 0 or width < 2 or size < 1:
            raise ValueError(
                f"support is 0 or more, width 2 or more and size 1 or more; got {support}, "
                f"{width} and {size}."
            )
        between = (channels + latents) // 2
        ends = [latents * i // slices for i in range(slices + 1)]
        prediction = ContextPrediction(
            {
                "": _hyper_synthesis(channels, between, latents),
                "scales": _hyper_synthesis(channels, between, latents),
            },
            [slice_networks(b - a, width, size) for a, b in zip(ends, ends[1:])],
            support,
        )
        coder = LatentCoder(
            Chain(
                [
                    Conv2D(latents, 3, activation=relu, kernel=kernel, name="conv0"),
                    Conv2D(between, 5, down=2, activation=relu, kernel=kernel, name="conv1"),
                    Conv2D(channels, 5, down=2, use_bias=False, kernel=kernel, name="conv2"),
                ],
                name="hyper_analysis",
            ),
            channels,
            prediction,
            Rounding(quantization, distribution),
        )
        super().__init__(
            analysis_transform(channels, latents, gdn, kernel),
            synthesis_transform(channels, gdn, kernel),
            coder,
        )


def slice_networks(channels: int, width: int, size: int) -> SeparateSlice:
    """Returns a slice with three networks: `width` filters, 4/7 of them, then one per channel."""

    def network(name: str) -> Chain:
        layers = [
            Conv2D(width, size, activation=relu, kernel="plain", name="conv0"),
            Conv2D(width * 4 // 7, size, activation=relu, kernel="plain", name="conv1"),
            Conv2D(channels, 3, kernel="plain", name="conv2"),
        ]
        return Chain(layers, name=name)

    return SeparateSlice(network("mean"), network("scale"), network("correction"))


def _hyper_synthesis(channels: int, between: int, latents: int) -> Chain:
    return Chain(
        [
            Conv2D(channels, 5, up=2, activation=relu, kernel="plain", name="conv0"),
            Conv2D(between, 5, up=2, activation=relu, kernel="plain", name="conv1"),
            Conv2D(latents, 3, activation=relu, kernel="plain", name="conv2"),
        ],
        name="hyper_synthesis",
    )
