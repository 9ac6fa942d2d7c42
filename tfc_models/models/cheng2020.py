"""Models with residual blocks, with and without attention modules.

Cheng, Sun, Takeuchi, Katto, "Learned Image Compression with Discretized Gaussian Mixture
Likelihoods and Attention Modules", CVPR 2020.
"""

from __future__ import annotations

from tfc_models.entropy import LatentCoder, MixtureRounding, Rounding
from tfc_models.layers import (
    Attention,
    Chain,
    CompressionLayer,
    Conv2D,
    Residual,
    leaky_relu,
    nonlinearity,
)
from tfc_models.models.base import CompressionModel
from tfc_models.models.registry import register
from tfc_models.models.transforms import raster_prediction

SUBPIXEL = 6  # A 6×6 kernel up by 2 is a 3×3 convolution to four times the channels.


@register("cheng2020-anchor", stable=False)
class Cheng2020Anchor(CompressionModel):
    """Residual blocks of 3×3 convolutions with the entropy model of `mbt2018`.

    ::

        x ─ R↓2 ─ R ─ R↓2 ─ R ─ R↓2 ─ R ─ 3×3↓2 ─ y ─[ context in raster order ]─ ŷ
        x̂ ─ 3×3↑2 ─ R ─ R↑2 ─ R ─ R↑2 ─ R ─ R↑2 ─ R ──────────────────────────────┘

    R is a residual block of two convolutions; those that change the resolution have a GDN.

    `channels` (N) is the width of the transforms and of z, `latents` that of y. Latents have a
    mixture of `components` Gaussians: 3 in the paper, 1 in published implementations of this
    model and by default.
    """

    attention = False
    halo = 7  # Latents that the blocks of a transform reach.

    def __init__(
        self,
        channels: int = 192,
        latents: int = 192,
        lmbda: float | None = None,
        distortion: str = "mse",
        gdn: str = "gdn",
        kernel: str = "plain",
        quantization: str = "noise",
        distribution: str = "gaussian",
        components: int = 1,
    ) -> None:
        if components > 1 and distribution != "gaussian":
            raise ValueError(f"a mixture has Gaussian components; got {distribution!r}.")
        coder = LatentCoder(
            _hyper_analysis(channels, kernel),
            channels,
            raster_prediction(_hyper_synthesis(channels, latents), latents, components),
            Rounding(quantization, distribution, around_means=False)
            if components == 1
            else MixtureRounding(components, quantization),
        )
        super().__init__(
            self._analysis(channels, latents, gdn, kernel),
            self._synthesis(channels, latents, gdn, kernel),
            coder,
        )

    def _attend(self, channels: int, kernel: str, name: str) -> list[CompressionLayer]:
        return [Attention(channels, kernel, name=name)] if self.attention else []

    def _analysis(self, channels: int, latents: int, gdn: str, kernel: str) -> Chain:
        layers = []
        for i in range(3):
            layers.append(_down(channels, gdn, kernel, f"down{i}"))
            if i == 1:
                layers += self._attend(channels, kernel, "attention0")
            layers.append(_block(channels, kernel, f"block{i}"))
        layers.append(Conv2D(latents, 3, down=2, kernel=kernel, name="last"))
        return Chain([*layers, *self._attend(latents, kernel, "attention1")], name="analysis")

    def _synthesis(self, channels: int, latents: int, gdn: str, kernel: str) -> Chain:
        layers = self._attend(latents, kernel, "attention1")
        # The paper has as many latents as channels.
        change = None if channels == latents else Conv2D(channels, 1, kernel="plain", name="skip")
        layers.append(_block(channels, kernel, "block3", change))
        for i in reversed(range(3)):
            layers.append(_up(channels, gdn, kernel, f"up{i}"))
            if i == 1:
                layers += self._attend(channels, kernel, "attention0")
            layers.append(_block(channels, kernel, f"block{i}"))
        layers.append(Conv2D(3, SUBPIXEL, up=2, kernel=kernel, name="last"))
        return Chain(layers, name="synthesis")


@register("cheng2020-attn", stable=False)
class Cheng2020Attention(Cheng2020Anchor):
    """`cheng2020-anchor` with attention modules after the second and fourth halving of resolution.

    ::

        x ─ R↓2 ─ R ─ R↓2 ─ A ─ R ─ R↓2 ─ R ─ 3×3↓2 ─ A ─ y
        x̂ ─ 3×3↑2 ─ R ─ R↑2 ─ R ─ A ─ R↑2 ─ R ─ R↑2 ─ R ─ A ─ ŷ
    """

    attention = True
    halo = 11


def _block(channels: int, kernel: str, name: str, skip: CompressionLayer | None = None) -> Residual:
    layers = [
        Conv2D(channels, 3, activation=leaky_relu, kernel=kernel, name=f"conv{i}") for i in range(2)
    ]
    return Residual(layers, name, skip)


def _down(channels: int, gdn: str, kernel: str, name: str) -> Residual:
    layers = [
        Conv2D(channels, 3, down=2, activation=leaky_relu, kernel=kernel, name="conv0"),
        Conv2D(channels, 3, kernel=kernel, name="conv1"),
        nonlinearity(gdn, name="gdn"),
    ]
    return Residual(layers, name, Conv2D(channels, 1, down=2, kernel="plain", name="skip"))


def _up(channels: int, gdn: str, kernel: str, name: str) -> Residual:
    layers = [
        Conv2D(channels, SUBPIXEL, up=2, activation=leaky_relu, kernel=kernel, name="conv0"),
        Conv2D(channels, 3, kernel=kernel, name="conv1"),
        nonlinearity(gdn, inverse=True, name="igdn"),
    ]
    return Residual(layers, name, Conv2D(channels, SUBPIXEL, up=2, kernel=kernel, name="skip"))


def _hyper_analysis(channels: int, kernel: str) -> Chain:
    layers = [
        Conv2D(channels, 3, down=down, activation=leaky_relu, kernel=kernel, name=f"conv{i}")
        for i, down in enumerate((1, 1, 2, 1))
    ]
    last = Conv2D(channels, 3, down=2, kernel=kernel, name="conv4")
    return Chain([*layers, last], name="hyper_analysis")


def _hyper_synthesis(channels: int, latents: int) -> Chain:
    wide = channels * 3 // 2
    shapes = [(channels, 3, 1), (channels, SUBPIXEL, 2), (wide, 3, 1), (wide, SUBPIXEL, 2)]
    layers = [
        Conv2D(filters, size, up=up, activation=leaky_relu, kernel="plain", name=f"conv{i}")
        for i, (filters, size, up) in enumerate(shapes)
    ]
    return Chain(
        [*layers, Conv2D(2 * latents, 3, kernel="plain", name="conv4")], name="hyper_synthesis"
    )
