"""ELIC: uneven slices of channels with a checkerboard in each.

He, Yang, Peng, Ma, Qin, Wang, "ELIC: Efficient Learned Image Compression with Unevenly Grouped
Space-Channel Contextual Adaptive Coding", CVPR 2022.
"""

from __future__ import annotations

from tfc_models.entropy import Checkerboard, ContextPrediction, JointSlice, LatentCoder, Rounding
from tfc_models.layers import Attention, Chain, Conv2D, MaskedConv2D, Residual, bottleneck, relu
from tfc_models.models.base import CompressionModel
from tfc_models.models.registry import register
from tfc_models.models.transforms import hyper_analysis

FIRST_SLICES = (16, 16, 32, 64)
BLOCKS = 3  # bottlenecks in a row


@register("elic2022", stable=False)
class Elic2022(CompressionModel):
    """Uneven slices of channels with a checkerboard in each; bottleneck blocks and attention.

    ::

        x ─ 5×5↓2 ─ BBB ─ 5×5↓2 ─ BBB ─ A ─ 5×5↓2 ─ BBB ─ 5×5↓2 ─ A ─ y
        y ─ 3×3 ─ 5×5↓2 ─ 5×5↓2 ─ z ─[ factorized ]─ ẑ ─ 5×5↑2 ─ 5×5↑2 ─ 3×3 ─ features

        features ────────────────────────────────────────────┐
        ŷ of slices before ─ 5×5 ─ 5×5 ─ 5×5 ────────────────┼─ 1×1 ─ 1×1 ─ 1×1 ─ σ, μ
        ŷ of this slice, one half of a checkerboard ─ 5×5 ───┘

    B is a bottleneck block, A an attention module; the synthesis mirrors the analysis. Slices
    have 16, 16, 32 and 64 channels, and the last one the rest. With fewer than 129 `latents`,
    slices keep these proportions.

    `channels` (N) is the width of the transforms and of z, `latents` (M) that of y.
    """

    halo = 10  # Latents that the attention modules and blocks of a transform reach.

    def __init__(
        self,
        channels: int = 192,
        latents: int = 320,
        lmbda: float | None = None,
        distortion: str = "mse",
        kernel: str = "plain",
        quantization: str = "mixed",
        distribution: str = "gaussian",
    ) -> None:
        widths = slice_widths(latents)
        slices = [_slice(i, width, latents) for i, width in enumerate(widths)]
        features = Chain(
            [
                Conv2D(channels, 5, up=2, activation=relu, kernel="plain", name="conv0"),
                Conv2D(channels * 3 // 2, 5, up=2, activation=relu, kernel="plain", name="conv1"),
                Conv2D(2 * channels, 3, kernel="plain", name="conv2"),
            ],
            name="hyper_synthesis",
        )
        coder = LatentCoder(
            hyper_analysis(channels, relu, kernel),
            channels,
            ContextPrediction(features, slices),
            Rounding(quantization, distribution),
        )
        super().__init__(
            _analysis(channels, latents, kernel), _synthesis(channels, latents, kernel), coder
        )


def slice_widths(latents: int) -> list[int]:
    """Returns the number of channels of each slice."""
    if latents < len(FIRST_SLICES) + 1:
        raise ValueError(f"latents are 5 or more, one per slice; got {latents}.")
    first = sum(FIRST_SLICES)
    widths = list(FIRST_SLICES)
    if latents <= first:
        widths = [max(latents * width // (2 * first), 1) for width in FIRST_SLICES]
    return [*widths, latents - sum(widths)]


def _slice(i: int, width: int, latents: int) -> JointSlice:
    """Returns slice `i`; slice 0 has no context across channels."""

    def conv(filters: int, size: int, name: str, last: bool = False) -> Conv2D:
        return Conv2D(filters, size, activation=None if last else relu, kernel="plain", name=name)

    channel_context = [  # 224 and 128 filters for 320 latents
        conv(latents * 7 // 10, 5, "conv0"),
        conv(latents * 2 // 5, 5, "conv1"),
        conv(2 * width, 5, "conv2", last=True),
    ]
    parameters = [
        conv(10 * width, 1, "mix0"),
        conv(4 * width, 1, "mix1"),
        conv(2 * width, 1, "heads", last=True),
    ]
    return JointSlice(
        parameters,
        MaskedConv2D(2 * width, Checkerboard.mask(5), kernel="plain", name="near"),
        Checkerboard(),
        Chain(channel_context, name="across") if i else None,
    )


def _blocks(channels: int, kernel: str, stage: int) -> list[Residual]:
    return [bottleneck(channels, kernel, f"block{stage}{i}") for i in range(BLOCKS)]


def _analysis(channels: int, latents: int, kernel: str) -> Chain:
    return Chain(
        [
            Conv2D(channels, 5, down=2, kernel=kernel, name="conv0"),
            *_blocks(channels, kernel, 0),
            Conv2D(channels, 5, down=2, kernel=kernel, name="conv1"),
            *_blocks(channels, kernel, 1),
            Attention(channels, kernel, name="attention0"),
            Conv2D(channels, 5, down=2, kernel=kernel, name="conv2"),
            *_blocks(channels, kernel, 2),
            Conv2D(latents, 5, down=2, kernel=kernel, name="conv3"),
            Attention(latents, kernel, name="attention1"),
        ],
        name="analysis",
    )


def _synthesis(channels: int, latents: int, kernel: str) -> Chain:
    return Chain(
        [
            Attention(latents, kernel, name="attention1"),
            Conv2D(channels, 5, up=2, kernel=kernel, name="conv3"),
            *_blocks(channels, kernel, 2),
            Conv2D(channels, 5, up=2, kernel=kernel, name="conv2"),
            Attention(channels, kernel, name="attention0"),
            *_blocks(channels, kernel, 1),
            Conv2D(channels, 5, up=2, kernel=kernel, name="conv1"),
            *_blocks(channels, kernel, 0),
            Conv2D(3, 5, up=2, kernel=kernel, name="conv0"),
        ],
        name="synthesis",
    )
