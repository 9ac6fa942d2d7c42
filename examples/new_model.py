"""Defines, trains and uses a new model: from an idea to files.

    python examples/new_model.py IMAGE OUTPUT.tfcm

The model has a checkerboard inside two slices of channels, and one residual block in each
transform. A few steps on one image show that everything works; `docs/training.md` describes
real training.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import tensorflow as tf
from PIL import Image

from tfc_models import models
from tfc_models.codec import Codec
from tfc_models.entropy import Checkerboard, ContextPrediction, JointSlice, LatentCoder, Rounding
from tfc_models.layers import Chain, Conv2D, MaskedConv2D, Residual, leaky_relu


def conv(filters: int, size: int, name: str, down: int = 1, up: int = 1) -> Conv2D:
    """Returns a convolution with leaky ReLU."""
    options = {"activation": leaky_relu, "kernel": "plain", "name": name}
    return Conv2D(filters, size, down=down, up=up, **options)


def head(filters: int, size: int, name: str, up: int = 1, down: int = 1) -> Conv2D:
    """Returns a convolution without activation."""
    return Conv2D(filters, size, up=up, down=down, kernel="plain", name=name)


def part(channels: int, first: bool) -> JointSlice:
    """Returns a slice that reads the slice before it, if any, and half of itself."""
    spatial_context = MaskedConv2D(2 * channels, Checkerboard.mask(5), kernel="plain", name="near")
    channel_context = None if first else Chain([head(2 * channels, 5, "conv0")], name="across")
    parameters = [conv(4 * channels, 1, "mix"), head(2 * channels, 1, "heads")]
    return JointSlice(parameters, spatial_context, Checkerboard(), channel_context)


@models.register("example-two-slices", stable=False)
class TwoSlices(models.CompressionModel):
    """Two slices of channels with a checkerboard inside each."""

    halo = 3

    def __init__(
        self, channels: int = 32, lmbda: float | None = None, distortion: str = "mse"
    ) -> None:
        down = [conv(channels, 5, "a", down=4), Residual([conv(channels, 3, "b")], "res")]
        up = [conv(channels, 4, "a", up=4), Residual([conv(channels, 3, "b")], "res")]
        hyper = [conv(channels, 4, "a", down=2), head(channels, 4, "b", down=2)]
        features = [conv(channels, 4, "a", up=2), conv(channels, 4, "b", up=2)]
        slices = [part(channels // 4, True), part(channels - channels // 4, False)]
        coder = LatentCoder(
            Chain(hyper, name="hyper_analysis"),
            channels,
            ContextPrediction(Chain(features, name="hyper_synthesis"), slices),
            Rounding("mixed"),
        )
        analysis = Chain([*down, head(channels, 4, "last", down=4)], name="analysis")
        synthesis = Chain([*up, head(3, 4, "last", up=4)], name="synthesis")
        super().__init__(analysis, synthesis, coder)


def main(image: str, output: str, steps: int = 150) -> None:
    """Trains briefly on an image, compresses it, and decodes the file."""
    pixels = np.asarray(Image.open(image).convert("RGB"))
    model = models.build("example-two-slices", lmbda=0.01)
    model.compile(tf.keras.optimizers.Adam(3e-3))
    crop = tf.constant(pixels[None, :128, :128], tf.float32)
    model.fit(tf.data.Dataset.from_tensors(crop).repeat(steps), verbose=0)
    codec = Codec(model)
    data = codec.compress(pixels)
    pathlib.Path(output).write_bytes(data)
    error = np.mean(np.square(codec.decompress(data).astype(float) - pixels))
    bpp = 8 * len(data) / pixels[..., 0].size
    print(f"{len(data)} bytes, {bpp:.3f} bpp, {10 * np.log10(255**2 / error):.2f} dB")


if __name__ == "__main__":
    main(*sys.argv[1:])
