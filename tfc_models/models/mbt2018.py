"""Mean-scale hyperprior, with and without a context, and with universal quantization.

Minnen, Ballé, Toderici, "Joint Autoregressive and Hierarchical Priors for Learned Image
Compression", NeurIPS 2018.
"""

from __future__ import annotations

from tfc_models.entropy import (
    HyperPrediction,
    LatentCoder,
    Rounding,
    UniversalQuantization,
)
from tfc_models.layers import Chain, Conv2D, leaky_relu
from tfc_models.models.base import CompressionModel
from tfc_models.models.registry import register
from tfc_models.models.transforms import (
    analysis_transform,
    hyper_analysis,
    raster_prediction,
    synthesis_transform,
)


@register("mbt2018-mean")
class Mbt2018Mean(CompressionModel):
    """Mean-scale hyperprior: z predicts the scale and the mean of every element of y.

    ::

        x ─ analysis ─ y ─┬─────────────────────[ N(μ, σ²) ]─ ŷ ─ synthesis ─ x̂
                          │                          │σ, μ
                          └─ 3×3 ─ 5×5↓2 ─ 5×5↓2 ─ z │
                                                   │ └─ 3×3 ─ 5×5↑2 ─ 5×5↑2 ──┐
                                                   └─[ factorized prior ]─ ẑ ─┘

    `channels` (N) is the width of the stages and of z, `latents` (M) that of y. The layers
    from z to (σ, μ) have M, 3M/2 and 2M channels.
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
        coder = LatentCoder(
            hyper_analysis(channels, leaky_relu, kernel),
            channels,
            HyperPrediction(_hyper_synthesis(latents)),
            Rounding(quantization, distribution),
        )
        super().__init__(
            analysis_transform(channels, latents, gdn, kernel),
            synthesis_transform(channels, gdn, kernel),
            coder,
        )


@register("mbt2018-universal")
class Mbt2018Universal(CompressionModel):
    """`mbt2018-mean` with universal quantization and soft rounding in place of rounding.

    ::

        v = y − μ ─ s_α ─ + ── round ─[ p(s_α(V) + U) ]── + ─ r_α ─ + ─ ŷ
                          −u                              +u        μ

    Agustsson, Theis, "Universally Quantized Neural Compression" (NeurIPS 2020). `sharpness`
    is α: 0 is dithered quantization, large values are close to rounding. `rate_gradient` is
    "pathwise" or the paper's "expected". See `tfc_models.entropy.universal`.
    """

    def __init__(
        self,
        channels: int = 128,
        latents: int = 192,
        lmbda: float | None = None,
        distortion: str = "mse",
        gdn: str = "gdn",
        kernel: str = "rdft",
        sharpness: float = 4.0,
        rate_gradient: str = "pathwise",
    ) -> None:
        coder = LatentCoder(
            hyper_analysis(channels, leaky_relu, kernel),
            channels,
            HyperPrediction(_hyper_synthesis(latents)),
            UniversalQuantization(sharpness, rate_gradient),
        )
        super().__init__(
            analysis_transform(channels, latents, gdn, kernel),
            synthesis_transform(channels, gdn, kernel),
            coder,
        )


@register("mbt2018")
class Mbt2018(CompressionModel):
    """`mbt2018-mean` with a context: decoded latents and z predict the next latents.

    ::

        x ─ analysis ─ y ─┬──────────┬────────────────[ N(μ, σ²) ]─ ŷ ─ synthesis ─ x̂
                          │          │                     │σ, μ
                          │          └─ ŷ before ─ 5×5 ─┬─ 1×1 ─ 1×1 ─ 1×1
                          └─ h_a ─ z ─[ factorized ]─ ẑ ─ h_s

    h_a and h_s are those of `mbt2018-mean`. The masked 5×5 convolution reads the 12 latents
    above and to the left. The decoder takes some 140 steps for 768×512 pixels, instead of one
    per position (see `tfc_models.entropy.order.Raster`).
    """

    def __init__(
        self,
        channels: int = 192,
        latents: int = 192,
        lmbda: float | None = None,
        distortion: str = "mse",
        gdn: str = "gdn",
        kernel: str = "rdft",
        quantization: str = "noise",
        distribution: str = "gaussian",
    ) -> None:
        coder = LatentCoder(
            hyper_analysis(channels, leaky_relu, kernel),
            channels,
            raster_prediction(_hyper_synthesis(latents), latents),
            Rounding(quantization, distribution, around_means=False),
        )
        super().__init__(
            analysis_transform(channels, latents, gdn, kernel),
            synthesis_transform(channels, gdn, kernel),
            coder,
        )


def _hyper_synthesis(latents: int) -> Chain:
    return Chain(
        [
            Conv2D(latents, 5, up=2, activation=leaky_relu, kernel="plain", name="conv0"),
            Conv2D(latents * 3 // 2, 5, up=2, activation=leaky_relu, kernel="plain", name="conv1"),
            Conv2D(2 * latents, 3, kernel="plain", name="conv2"),
        ],
        name="hyper_synthesis",
    )
