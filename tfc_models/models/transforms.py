"""Transforms that several papers share."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

from tfc_models.layers import Chain, Conv2D, nonlinearity


def analysis_transform(channels: int, latents: int, gdn: str, kernel: str) -> Chain:
    """Returns four 5×5 convolutions, each down by 2, with GDN between them."""
    layers: list[tf.keras.layers.Layer] = []
    for i in range(3):
        layers.append(Conv2D(channels, 5, down=2, kernel=kernel, name=f"conv{i}"))
        layers.append(nonlinearity(gdn, name=f"gdn{i}"))
    layers.append(Conv2D(latents, 5, down=2, kernel=kernel, name="conv3"))
    return Chain(layers, name="analysis")


def synthesis_transform(channels: int, gdn: str, kernel: str) -> Chain:
    """Returns four 5×5 convolutions, each up by 2, with inverse GDN between them."""
    layers: list[tf.keras.layers.Layer] = []
    for i in range(3):
        layers.append(Conv2D(channels, 5, up=2, kernel=kernel, name=f"conv{i}"))
        layers.append(nonlinearity(gdn, inverse=True, name=f"igdn{i}"))
    layers.append(Conv2D(3, 5, up=2, kernel=kernel, name="conv3"))
    return Chain(layers, name="synthesis")


def hyper_analysis(
    channels: int, activation: Callable[[tf.Tensor], tf.Tensor], kernel: str
) -> Chain:
    """Returns the network from y to z: a 3×3 convolution and two of 5×5, each down by 2."""
    return Chain(
        [
            Conv2D(channels, 3, activation=activation, kernel=kernel, name="conv0"),
            Conv2D(channels, 5, down=2, activation=activation, kernel=kernel, name="conv1"),
            Conv2D(channels, 5, down=2, use_bias=False, kernel=kernel, name="conv2"),
        ],
        name="hyper_analysis",
    )
