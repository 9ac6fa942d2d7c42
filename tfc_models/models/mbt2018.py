"""Minnen, Ballé, Toderici, "Joint Autoregressive and Hierarchical Priors for Learned Image
Compression", NeurIPS 2018: the mean-scale hyperprior."""

from __future__ import annotations

from tfc_models.entropy import MeanScaleHyperprior
from tfc_models.layers import Chain, Conv2D, leaky_relu
from tfc_models.models.base import CompressionModel
from tfc_models.models.registry import register
from tfc_models.models.transforms import analysis_transform, synthesis_transform


@register("mbt2018-mean")
class Mbt2018Mean(CompressionModel):
    """A mean-scale hyperprior: z tells the scale and the mean of every element of y.

    ::

        x ─ analysis ─ y ─┬─────────────────────[ N(μ, σ²) ]─ ŷ ─ synthesis ─ x̂
                          │                          │σ, μ
                          └─ 3×3 ─ 5×5↓2 ─ 5×5↓2 ─ z │
                                                   │ └─ 3×3 ─ 5×5↑2 ─ 5×5↑2 ──┐
                                                   └─[ factorized prior ]─ ẑ ─┘

    `channels` (N) is the width of the stages and of z, `latents` (M) that of y; the way
    from z to (σ, μ) widens over M and 3M/2 to 2M.
    """

    def __init__(
        self,
        channels: int = 128,
        latents: int = 192,
        lmbda: float = 0.01,
        distortion: str = "mse",
        gdn: str = "gdn",
        kernel: str = "rdft",
        quantization: str = "noise",
        distribution: str = "gaussian",
    ) -> None:
        config = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        hyper_analysis = Chain(
            [
                Conv2D(channels, 3, activation=leaky_relu, kernel=kernel, name="conv0"),
                Conv2D(channels, 5, down=2, activation=leaky_relu, kernel=kernel, name="conv1"),
                Conv2D(channels, 5, down=2, use_bias=False, kernel=kernel, name="conv2"),
            ],
            name="hyper_analysis",
        )
        wide = latents * 3 // 2
        hyper_synthesis = Chain(
            [
                Conv2D(latents, 5, up=2, activation=leaky_relu, kernel="plain", name="conv0"),
                Conv2D(wide, 5, up=2, activation=leaky_relu, kernel="plain", name="conv1"),
                Conv2D(2 * latents, 3, kernel="plain", name="conv2"),
            ],
            name="hyper_synthesis",
        )
        coder = MeanScaleHyperprior(
            hyper_analysis, hyper_synthesis, channels, distribution, quantization
        )
        super().__init__(
            "mbt2018-mean",
            analysis_transform(channels, latents, gdn, kernel),
            synthesis_transform(channels, gdn, kernel),
            coder,
            config,
        )
