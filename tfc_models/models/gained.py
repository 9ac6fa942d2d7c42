"""One model for every rate: linear stages, residual blocks, and gains for each rate."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from tfc_models.entropy import Gains, HyperPrediction, LatentCoder, Rounding
from tfc_models.layers import (
    Chain,
    CompressionLayer,
    Conv2D,
    Gain,
    GainedResidual,
    leaky_relu,
    level_weights,
    rate_of_each,
)
from tfc_models.layers.gain import LARGEST_RATE
from tfc_models.models.base import Before, CompressionModel
from tfc_models.models.distortion import distortions, parsed
from tfc_models.models.keras_model import Losses
from tfc_models.models.registry import register


@register("gained-stem4")
class GainedStem4(CompressionModel):
    """A mean-scale hyperprior whose latents are multiplied by a gain for the rate.

    ::

        x ─ 8×8↓4 ─ R ─ 4×4↓2 ─ R ─ 4×4↓2 ─ R ─ ×g(r) ─ y ─┬───────────[ N(μ, σ²) ]─ ŷ
                                                           │                │σ, μ
                     3×3 ─ 4×4↓2 ─ 4×4↓2 ─ ×h(r) ─ z ──────┘                │
                                                   │                        │
                                                   └─[ factorized ]─ ẑ ─────┴─ moved by r
        x̂ ─ 8×8↑4 ─ R ─ 4×4↑2 ─ R ─ 4×4↑2 ─ R ─ ×g'(r) ─ ŷ

    R is a row of residual blocks (`GainedResidual`), r the rate, 0 to 100. No layer
    runs at more than a quarter of the resolution. Without the blocks the transforms are linear;
    training starts from them as a Karhunen–Loève transform. At the rate r, lambda is
    `lmbda` · `span`^(r/100 − 1/2).

    Gains per rate follow Cui et al., "Asymmetric Gained Deep Image Compression With
    Continuous Rate Adaptation" (CVPR 2021). The entropy coder is that of Minnen, Ballé,
    Toderici (NeurIPS 2018), with the rate as an input.

    `channels` is the width at a quarter of the resolution; the width at an eighth is 3/2 of
    it. `latents` is the width of y, `levels` the number of rates with learned gains, and `blocks`
    the number of residual blocks in a row.
    """

    many_rates = True

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
        quantization: str = "mixed",
        distribution: str = "gaussian",
    ) -> None:
        # Reach of the synthesis in latents: 1 for conv2 and 1 for its block; 1/2 for conv1 and
        # 1 per block; 1/4 for conv0 and 1/2 per block. The analysis reaches less.
        self.halo = 3 + math.ceil(1.5 * blocks)
        self.span = float(span)
        self.levels = levels
        wide = channels * 3 // 2
        # Per row of blocks: width, hidden width, sizes of the two kernels, number of blocks.
        rows = [
            (channels, channels // 2, (3, 3), blocks),
            (wide, channels * 3 // 4, (3, 3), blocks),
            (latents, channels, (3, 1), 1),
        ]

        def row(stage: int) -> list[GainedResidual]:
            width, hidden, sizes, count = rows[stage]
            return [
                GainedResidual(width, hidden, levels, sizes, kernel=kernel, name=f"block{stage}{i}")
                for i in range(count)
            ]

        analysis = Chain(
            [
                Conv2D(channels, 8, down=4, kernel=kernel, name="conv0"),
                *row(0),
                Conv2D(wide, 4, down=2, kernel=kernel, name="conv1"),
                *row(1),
                Conv2D(latents, 4, down=2, kernel=kernel, name="conv2"),
                *row(2),
                Gain(latents, levels, name="gain"),
            ],
            name="analysis",
        )
        synthesis = Chain(
            [Gain(latents, levels, name="gain"), *self.synthesis_layers(row, channels, kernel)],
            name="synthesis",
        )
        hyper_analysis = Chain(
            [
                Conv2D(channels, 3, activation=leaky_relu, kernel=kernel, name="conv0"),
                Conv2D(channels, 4, down=2, activation=leaky_relu, kernel=kernel, name="conv1"),
                Conv2D(channels, 4, down=2, use_bias=False, kernel=kernel, name="conv2"),
            ],
            name="hyper_analysis",
        )
        features = [
            Conv2D(wide, 4, up=2, activation=leaky_relu, kernel="plain", name="conv0"),
            Conv2D(2 * channels, 4, up=2, activation=leaky_relu, kernel="plain", name="conv1"),
        ]
        heads = Conv2D(2 * latents, 1, kernel="plain", name="conv2")
        coder = LatentCoder(
            hyper_analysis,
            channels,
            self.prediction(features, heads),
            self.quantizer(quantization, distribution),
            Gains(latents, channels, levels),
        )
        super().__init__(analysis, synthesis, coder)

    def synthesis_layers(
        self, row: Callable[[int], list[GainedResidual]], channels: int, kernel: str
    ) -> list[CompressionLayer]:
        """Returns the layers of the synthesis after its gain.

        Args:
            row: returns new residual blocks for a stage, 0 at a quarter of the resolution.
            channels: width at a quarter of the resolution.
            kernel: parameterization of kernels.
        """
        return [
            *row(2),
            Conv2D(channels * 3 // 2, 4, up=2, kernel=kernel, name="conv2"),
            *row(1),
            Conv2D(channels, 4, up=2, kernel=kernel, name="conv1"),
            *row(0),
            Conv2D(3, 8, up=4, kernel=kernel, name="conv0"),
        ]

    def prediction(self, features: list[Conv2D], heads: Conv2D) -> HyperPrediction:
        """Returns the prediction of entropy parameters.

        Args:
            features: layers between hyper-latents and the last layer.
            heads: last layer of a prediction without context.
        """
        return HyperPrediction(Chain([*features, heads], name="hyper_synthesis"))

    def quantizer(self, mode: str, distribution: str) -> Rounding:
        """Returns the quantization of the latents."""
        return Rounding(mode, distribution)

    def lambda_at(self, rate: tf.Tensor) -> tf.Tensor:
        """Returns the weight of the distortion against bits per pixel at a rate."""
        return self.lmbda * tf.exp(math.log(self.span) * (rate / LARGEST_RATE - 0.5))

    def to_latents(self, images: tf.Tensor, rate: tf.Tensor | None = None) -> tf.Tensor:
        """Returns latents at a rate (one per example), float32; sides are multiples of 16."""
        weights = level_weights(rate_of_each(images, rate), self.levels)
        x = (tf.cast(images, tf.float32) - 127.5) / 255.0
        return tf.cast(self.analysis(tf.cast(x, self.analysis_dtype), weights), tf.float32)

    def to_images(
        self,
        latents: tf.Tensor,
        rate: tf.Tensor | None = None,
        before: Before | None = None,
        synthesis: Chain | None = None,
    ) -> tf.Tensor:
        """See the base class."""
        weights = level_weights(rate_of_each(latents, rate), self.levels)
        synthesis = synthesis or self.synthesis
        x_hat = synthesis(tf.cast(latents, self.synthesis_dtype), weights, before)
        return tf.cast(x_hat, tf.float32) * 255.0 + 127.5

    def _freeze_coder(self, images: tf.Tensor, representative: bool) -> None:
        # Each image at two rates, together from the lowest to the highest: any of them may
        # cause the largest activations of the exact networks.
        twice = tf.concat([images, images[::-1]], 0)
        rate = tf.linspace(0.0, LARGEST_RATE, twice.shape[0])
        y = self.to_latents(twice, rate)
        assert isinstance(self.coder, LatentCoder)
        self.coder.freeze(y=y, representative=representative, rate=rate)

    def example_losses(
        self, images: tf.Tensor, training: bool, rate: tf.Tensor | None = None
    ) -> Losses:
        """Returns losses at random rates in training, otherwise at `rate`.

        An example has the weight lambda^-1/2, about one over its bits per pixel, so that a
        relative change of the loss counts alike at all rates.
        """
        shape = tf.shape(images)
        if rate is None and training:
            # Stratified: one rate in each of as many equal intervals as there are examples.
            count = tf.cast(shape[0], tf.float32)
            within = self.coder.noise([shape[0]], 0.0, 1.0)
            rate = (tf.range(count) + within) * (LARGEST_RATE / count)
        rate = rate_of_each(images, rate)
        output = self(images, training=training, rate=rate)
        pixels = tf.cast(shape[1] * shape[2], tf.float32)
        bpp = tf.add_n(list(output.bits.values())) / pixels
        terms = parsed(self.distortion)
        distortion, parts = distortions(terms, images, output.reconstruction)
        lmbda = self.lambda_at(rate)
        loss = tf.sqrt(self.lmbda / lmbda) * (bpp + lmbda * distortion)
        return {"loss": loss, "bpp": bpp, **parts}
