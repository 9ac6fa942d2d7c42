"""Ballé, Laparra, Simoncelli, "End-to-end optimized image compression", ICLR 2017."""

from __future__ import annotations

from tfc_models.entropy import FactorizedPrior
from tfc_models.layers import Chain, Conv2D, nonlinearity
from tfc_models.models.base import CompressionModel
from tfc_models.models.registry import register


@register("bls2017")
class Bls2017(CompressionModel):
    """Three stages, the first of which divides the resolution by 4, and a factorized prior.

    ::

        x ─ 9×9↓4 ─ GDN ─ 5×5↓2 ─ GDN ─ 5×5↓2 ─ y ─[ factorized prior ]─ ŷ
        x̂ ─ 9×9↑4 ─ IGDN ─ 5×5↑2 ─ IGDN ─ 5×5↑2 ────────────────────────┘

    `channels` is the width of every stage (128 in the paper); `latents` is the width of y.
    """

    def __init__(
        self,
        channels: int = 128,
        latents: int = 128,
        lmbda: float | None = None,
        distortion: str = "mse",
        gdn: str = "gdn",
        kernel: str = "rdft",
        quantization: str = "noise",
    ) -> None:
        analysis = Chain(
            [
                Conv2D(channels, 9, down=4, kernel=kernel, name="conv0"),
                nonlinearity(gdn, name="gdn0"),
                Conv2D(channels, 5, down=2, kernel=kernel, name="conv1"),
                nonlinearity(gdn, name="gdn1"),
                Conv2D(latents, 5, down=2, use_bias=False, kernel=kernel, name="conv2"),
            ],
            name="analysis",
        )
        synthesis = Chain(
            [
                Conv2D(channels, 5, up=2, kernel=kernel, name="conv0"),
                nonlinearity(gdn, inverse=True, name="igdn0"),
                Conv2D(channels, 5, up=2, kernel=kernel, name="conv1"),
                nonlinearity(gdn, inverse=True, name="igdn1"),
                Conv2D(3, 9, up=4, kernel=kernel, name="conv2"),
            ],
            name="synthesis",
        )
        super().__init__(analysis, synthesis, FactorizedPrior(latents, quantization))
