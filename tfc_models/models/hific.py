"""HiFiC: encoder, generator, and the hyperprior between them.

Mentzer, Toderici, Tschannen, Agustsson, "High-Fidelity Generative Image Compression",
NeurIPS 2020.
"""

from __future__ import annotations

import tensorflow as tf

from tfc_models.entropy import HyperPrediction, LatentCoder, Rounding
from tfc_models.layers import Chain, ChannelNorm, Conv2D, Residual, relu
from tfc_models.models.base import CompressionModel
from tfc_models.models.registry import register
from tfc_models.models.transforms import hyper_analysis

STAGES = 4


@register("hific")
class Hific(CompressionModel):
    """Generator of high capacity, for realistic detail at low rates.

    ::

        x ─ 7×7 ─ 3×3↓2 ─ 3×3↓2 ─ 3×3↓2 ─ 3×3↓2 ─ 3×3 ─ y ─┬───────────[ N(μ, σ²) ]─ ŷ
                                                           │                │σ, μ
                                  3×3 ─ 5×5↓2 ─ 5×5↓2 ─ z ─┘                │
                                                        │  ┌─ h_s for σ ────┤
                                                        └─ ẑ ─ h_s for μ ───┘
        x̂ ─ 7×7 ─ 3×3↑2 ─ 3×3↑2 ─ 3×3↑2 ─ 3×3↑2 ─ R … R ─ 3×3 ─ ŷ
                                                └───────┘

    Every convolution but the last of a network is followed by a `ChannelNorm` and a ReLU. So is
    each half of a residual block R (both 3×3, the second without ReLU). There are `blocks` of
    them in a row, with a skip connection around all. ŷ and the output of the first 3×3 are
    normalized without ReLU. h_s is 5×5↑2, 5×5↑2, 3×3.

    `channels` is the width at full resolution, which doubles with every stage. `latents` is the
    width of y, `hyper` that of z and of the networks around it. The defaults are the paper's, with
    181 million weights. In training the generator reads rounded latents, and the rate is that of
    latents with noise.

    A frozen model decodes in float32 on every machine. In bfloat16, one sum that crosses a
    rounding boundary would change a quarter of the pixels by a grey level, because each
    normalization spreads the difference.

    The class can be trained like the other models, or as in the paper with perceptual losses, a
    critic and a target rate (see `training.gan`).
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
        if min(channels, latents) < 2 or min(hyper, blocks) < 1:
            raise ValueError(
                "channels and latents are 2 or more, hyper and blocks 1 or more; got "
                f"{channels}, {latents}, {hyper} and {blocks}."
            )
        # Reach of the synthesis in latents: 1 for the first 3×3, 2 per block, then 2 back and
        # 1 ahead. The analysis reaches 34 pixels ahead, less than 3 latents.
        self.halo = 3 + 2 * blocks
        coder = LatentCoder(
            hyper_analysis(hyper, relu, kernel),
            hyper,
            HyperPrediction(
                _hyper_synthesis(hyper, latents, "hyper_synthesis"),
                means=_hyper_synthesis(hyper, latents, "mean_synthesis"),
            ),
            Rounding(quantization, distribution),
        )
        super().__init__(
            _encoder(channels, latents, kernel),
            _generator(channels, blocks, kernel),
            coder,
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
