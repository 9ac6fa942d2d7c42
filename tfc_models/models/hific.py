"""Mentzer, Toderici, Tschannen, Agustsson, "High-Fidelity Generative Image Compression",
NeurIPS 2020: the encoder, the generator and the hyperprior between them."""

from __future__ import annotations

import tensorflow as tf

from tfc_models.entropy import TwoNetworkHyperprior
from tfc_models.layers import Chain, ChannelNorm, Conv2D, Residual, relu
from tfc_models.models.base import CompressionModel
from tfc_models.models.registry import register
from tfc_models.models.transforms import hyper_analysis

STAGES = 4


@register("hific")
class Hific(CompressionModel):
    """A generator wide and deep enough to invent what few bits do not say.

    ::

        x ─ 7×7 ─ 3×3↓2 ─ 3×3↓2 ─ 3×3↓2 ─ 3×3↓2 ─ 3×3 ─ y ─┬───────────[ N(μ, σ²) ]─ ŷ
                                                           │                │σ, μ
                                  3×3 ─ 5×5↓2 ─ 5×5↓2 ─ z ─┘                │
                                                        │  ┌─ h_s for σ ────┤
                                                        └─ ẑ ─ h_s for μ ───┘
        x̂ ─ 7×7 ─ 3×3↑2 ─ 3×3↑2 ─ 3×3↑2 ─ 3×3↑2 ─ R … R ─ 3×3 ─ ŷ
                                                └───────┘

    Every convolution that is no last one has a `ChannelNorm` and a ReLU behind it; so do the
    halves of a residual block R (3×3 both, the second without ReLU). `blocks` of them stand in
    a row, and what goes into the first is added to what comes out of the last as well. ŷ and
    what the first 3×3 makes of it are normalized without ReLU. h_s is 5×5↑2, 5×5↑2, 3×3.

    `channels` is the width at full resolution, doubled with every stage; `latents` that of y,
    `hyper` that of z and of the networks around it. Without arguments it is the paper's network,
    of 181 million weights. Training rounds what the generator sees, and puts noise for rounding
    in what the rate is of.

    Frozen, it decodes in float32 everywhere. A sum that falls to the other side of a rounding
    boundary is a bfloat16 number off, and through as many normalizations as these a picture
    becomes another in a quarter of its pixels, by a grey level.

    This is the model; it trains as any other here, or as in the paper (training.gan), with what
    people see, a critic and a target of the rate.
    """

    frozen_dtype = tf.float32

    def __init__(
        self,
        channels: int = 60,
        latents: int = 220,
        hyper: int = 320,
        blocks: int = 9,
        lmbda: float | None = None,
        distortion: str = "mse",
        kernel: str = "plain",
        quantization: str = "mixed",
        distribution: str = "gaussian",
    ) -> None:
        config = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if min(channels, latents) < 2 or min(hyper, blocks) < 1:
            raise ValueError(
                "channels and latents are 2 or more, hyper and blocks 1 or more; got "
                f"{channels}, {latents}, {hyper} and {blocks}."
            )
        # On the way out, in latents: 1 for the first 3×3, 2 a block; what follows reaches 2
        # back and 1 ahead. The way in reaches 34 pixels ahead, less than 3 latents.
        self.halo = 3 + 2 * blocks
        coder = TwoNetworkHyperprior(
            hyper_analysis(hyper, relu, kernel),
            _hyper_synthesis(hyper, latents, "hyper_synthesis"),
            hyper,
            distribution,
            quantization,
            mean_synthesis=_hyper_synthesis(hyper, latents, "mean_synthesis"),
        )
        super().__init__(
            "hific",
            _encoder(channels, latents, kernel),
            _generator(channels, blocks, kernel),
            coder,
            config,
        )


def _encoder(channels: int, latents: int, kernel: str) -> Chain:
    layers = [
        Conv2D(channels, 7, kernel=kernel, name="conv0"),
        ChannelNorm(relu, name="norm0"),
    ]
    for i in range(1, STAGES + 1):
        layers.append(Conv2D(channels * 2**i, 3, down=2, kernel=kernel, name=f"conv{i}"))
        layers.append(ChannelNorm(relu, name=f"norm{i}"))
    layers.append(Conv2D(latents, 3, kernel=kernel, name=f"conv{STAGES + 1}"))
    return Chain(layers, name="analysis")


def _generator(channels: int, blocks: int, kernel: str) -> Chain:
    width = channels * 2**STAGES

    def block(i: int) -> Residual:
        layers = [
            Conv2D(width, 3, kernel=kernel, name="conv0"),
            ChannelNorm(relu, name="norm0"),
            Conv2D(width, 3, kernel=kernel, name="conv1"),
            ChannelNorm(name="norm1"),
        ]
        return Residual(layers, name=f"block{i}")

    layers = [
        ChannelNorm(name="norm"),
        Conv2D(width, 3, kernel=kernel, name="conv0"),
        ChannelNorm(name="norm0"),
        Residual([block(i) for i in range(blocks)], name="blocks"),
    ]
    for i in range(1, STAGES + 1):
        layers.append(Conv2D(width // 2**i, 3, up=2, kernel=kernel, name=f"conv{i}"))
        layers.append(ChannelNorm(relu, name=f"norm{i}"))
    layers.append(Conv2D(3, 7, kernel=kernel, name=f"conv{STAGES + 1}"))
    return Chain(layers, name="synthesis")


def _hyper_synthesis(hyper: int, latents: int, name: str) -> Chain:
    return Chain(
        [
            Conv2D(hyper, 5, up=2, activation=relu, kernel="plain", name="conv0"),
            Conv2D(hyper, 5, up=2, activation=relu, kernel="plain", name="conv1"),
            Conv2D(latents, 3, kernel="plain", name="conv2"),
        ],
        name=name,
    )
