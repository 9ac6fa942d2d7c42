"""The transforms that several papers share."""

from __future__ import annotations

import tensorflow as tf

from tfc_models.layers import Chain, Conv2D, nonlinearity


def analysis_transform(channels: int, latents: int, gdn: str, kernel: str) -> Chain:
    """Four 5×5 convolutions, each by 2 down, GDN between them."""
    layers: list[tf.keras.layers.Layer] = []
    for i in range(3):
        layers.append(Conv2D(channels, 5, down=2, kernel=kernel, name=f"conv{i}"))
        layers.append(nonlinearity(gdn, name=f"gdn{i}"))
    layers.append(Conv2D(latents, 5, down=2, kernel=kernel, name="conv3"))
    return Chain(layers, name="analysis")


def synthesis_transform(channels: int, gdn: str, kernel: str) -> Chain:
    """Four 5×5 convolutions, each by 2 up, inverse GDN between them."""
    layers: list[tf.keras.layers.Layer] = []
    for i in range(3):
        layers.append(Conv2D(channels, 5, up=2, kernel=kernel, name=f"conv{i}"))
        layers.append(nonlinearity(gdn, inverse=True, name=f"igdn{i}"))
    layers.append(Conv2D(3, 5, up=2, kernel=kernel, name="conv3"))
    return Chain(layers, name="synthesis")
