"""Normalized latents under a fixed Laplacian, with hard shrinkage or GDN between the stages.

Kirmemis, Tekalp, "Shrinkage as Activation for Learned Image Compression" (ICIP 2020).
"""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

from tfc_models.entropy import LatentCoder, MagnitudePrediction, NormalizedRounding, Steps
from tfc_models.entropy.normalized import STEPS, step_at
from tfc_models.layers import GDN, Chain, Conv2D, HardShrinkage, leaky_relu
from tfc_models.models.base import CompressionModel
from tfc_models.models.registry import register
from tfc_models.models.transforms import hyper_analysis

PIXEL_SHUFFLE = 6  # kernel of a convolution up by 2 that equals a 3×3 one and a pixel shuffle


@register("kirmemis2020", stable=False)
class Kirmemis2020(CompressionModel):
    """Shrinkage activations; latents coded under a Laplacian of unit variance in steps of Δ.

    ::

        x ─ 5×5↓2 ─ S ─ 5×5↓2 ─ S ─ 5×5↓2 ─ S ─ 5×5↓2 ─ y ─┬─ (y − μ)/(σ·Δ) ─[ Laplace ]─ q
                                                           │           │σ, μ
                       3×3 ─ 5×5↓2 ─ 5×5↓2 ─ z ────────────┘           │
                                             └─[ factorized ]─ ẑ ─ P ─ P ─ 3×3
        x̂ ─ P ─ S ─ P ─ S ─ P ─ S ─ P ─ ŷ = σ·Δ·q + μ

    S is `HardShrinkage` and P a 3×3 convolution followed by a pixel shuffle by 2. σ is the
    magnitude of an output of the hyper-synthesis, and the integers q have one distribution for
    all latents (see `tfc_models.entropy.normalized`).

    The rate follows Δ, which is selected when an image is encoded. Qualities 0 to 12 have Δ = 2,
    13 to 37 have 3/2, 38 to 62 have 1, 63 to 87 have 2/3, and 88 to 100 have 1/2. Training uses
    Δ = 1 only. Its loss is bits per pixel plus lambda times the distortion.

    The publication does not state the numbers of channels and the sizes of kernels. They are
    those of `mbt2018-mean` here: `channels` (N) is the width of the stages and of z, `latents` (M)
    that of y. With few bits per pixel, M must be small: each latent costs at least 0.98 bits at
    Δ = 1, and 0.40 bits at Δ = 2.
    """

    many_rates = True
    levels = len(STEPS)

    def __init__(
        self,
        channels: int = 128,
        latents: int = 192,
        lmbda: float | None = None,
        distortion: str = "mse",
        kernel: str = "rdft",
        quantization: str = "noise",
    ) -> None:
        analysis: list[tf.keras.layers.Layer] = []
        synthesis: list[tf.keras.layers.Layer] = []
        for i in range(3):
            analysis.append(Conv2D(channels, 5, down=2, kernel=kernel, name=f"conv{i}"))
            analysis.append(self.activation(False)(name=f"activation{i}"))
            synthesis.append(Conv2D(channels, PIXEL_SHUFFLE, up=2, kernel=kernel, name=f"conv{i}"))
            synthesis.append(self.activation(True)(name=f"activation{i}"))
        analysis.append(Conv2D(latents, 5, down=2, kernel=kernel, name="conv3"))
        synthesis.append(Conv2D(3, PIXEL_SHUFFLE, up=2, kernel=kernel, name="conv3"))
        coder = LatentCoder(
            hyper_analysis(channels, leaky_relu, kernel),
            channels,
            MagnitudePrediction(_hyper_synthesis(latents)),
            NormalizedRounding(quantization),
            Steps(),
        )
        super().__init__(
            Chain(analysis, name="analysis"), Chain(synthesis, name="synthesis"), coder
        )

    @staticmethod
    def activation(inverse: bool) -> Callable[..., tf.keras.layers.Layer]:
        """Returns the constructor of the activations of the analysis, or of the synthesis."""
        return HardShrinkage

    def lambda_at(self, rate: tf.Tensor) -> tf.Tensor:
        """Returns the weight of the distortion for which the step at a rate is optimal.

        At high rates the distortion is proportional to Δ², and the rate to −log2 Δ. The optimal
        weight is therefore proportional to 1/Δ².
        """
        return self.lmbda / tf.square(step_at(rate))


@register("kirmemis2020-gdn", stable=False)
class Kirmemis2020Gdn(Kirmemis2020):
    """`kirmemis2020` with GDN and inverse GDN in place of shrinkage, for comparison."""

    @staticmethod
    def activation(inverse: bool) -> Callable[..., tf.keras.layers.Layer]:
        """See the base class."""
        return lambda name: GDN("gdn", inverse=inverse, name=name)


def _hyper_synthesis(latents: int) -> Chain:
    size = PIXEL_SHUFFLE
    return Chain(
        [
            Conv2D(latents, size, up=2, activation=leaky_relu, kernel="plain", name="conv0"),
            Conv2D(
                latents * 3 // 2, size, up=2, activation=leaky_relu, kernel="plain", name="conv1"
            ),
            Conv2D(2 * latents, 3, kernel="plain", name="conv2"),
        ],
        name="hyper_synthesis",
    )
