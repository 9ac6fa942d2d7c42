"""Scale hyperprior, and the factorized prior of the same paper.

Ballé, Minnen, Singh, Hwang, Johnston, "Variational image compression with a scale hyperprior",
ICLR 2018.
"""

from __future__ import annotations

from tfc_models.entropy import FactorizedPrior, HyperPrediction, LatentCoder, Rounding
from tfc_models.layers import Chain, Conv2D, relu
from tfc_models.models.base import CompressionModel
from tfc_models.models.registry import register
from tfc_models.models.transforms import analysis_transform, hyper_analysis, synthesis_transform


@register("bmshj2018-factorized")
class Bmshj2018Factorized(CompressionModel):
    """Four stages and a factorized prior.

    ::

        x ─ 5×5↓2 ─ GDN ─ 5×5↓2 ─ GDN ─ 5×5↓2 ─ GDN ─ 5×5↓2 ─ y ─[ factorized prior ]─ ŷ
        x̂ ─ 5×5↑2 ─ IGDN ─ 5×5↑2 ─ IGDN ─ 5×5↑2 ─ IGDN ─ 5×5↑2 ──────────────────────┘

    `channels` (N) is the width of the stages, `latents` (M) that of y.
    """

    def __init__(
        self,
        channels: int = 128,
        latents: int = 192,
        lmbda: float | None = None,
        distortion: str = "mse",
        gdn: str = "gdn",
        kernel: str = "rdft",
        quantization: str = "noise",
    ) -> None:
        super().__init__(
            analysis_transform(channels, latents, gdn, kernel),
            synthesis_transform(channels, gdn, kernel),
            FactorizedPrior(latents, quantization),
        )


@register("bmshj2018-hyperprior")
class Bmshj2018Hyperprior(CompressionModel):
    """Scale hyperprior: z predicts the scale of every element of y.

    ::

        x ─ analysis ─ y ─┬──────────────────────[ N(0, σ²) ]─ ŷ ─ synthesis ─ x̂
                         |y|                          │σ
                          └─ 3×3 ─ 5×5↓2 ─ 5×5↓2 ─ z  │
                                                   │  └─ 3×3 ─ 5×5↑2 ─ 5×5↑2 ─┐
                                                   └─[ factorized prior ]─ ẑ ─┘

    `channels` (N) is the width of the stages and of z, `latents` (M) that of y.
    """

    def __init__(
        self,
        channels: int = 128,
        latents: int = 192,
        lmbda: float | None = None,
        distortion: str = "mse",
        gdn: str = "gdn",
        kernel: str = "rdft",
        quantization: str = "noise",
        distribution: str = "gaussian",
    ) -> None:
        hyper_synthesis = Chain(
            [
                Conv2D(channels, 5, up=2, activation=relu, kernel="plain", name="conv0"),
                Conv2D(channels, 5, up=2, activation=relu, kernel="plain", name="conv1"),
                Conv2D(latents, 3, kernel="plain", name="conv2"),
            ],
            name="hyper_synthesis",
        )
        super().__init__(
            analysis_transform(channels, latents, gdn, kernel),
            synthesis_transform(channels, gdn, kernel),
            LatentCoder(
                hyper_analysis(channels, relu, kernel),
                channels,
                HyperPrediction(hyper_synthesis, zero_mean=True),
                Rounding(quantization, distribution),
            ),
        )
