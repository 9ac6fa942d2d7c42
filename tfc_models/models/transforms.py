"""Networks that several papers share."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

from tfc_models.entropy import ContextPrediction, JointSlice, Raster
from tfc_models.entropy.parameters import outputs_per_latent
from tfc_models.layers import Chain, Conv2D, MaskedConv2D, leaky_relu, nonlinearity


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


def raster_prediction(features: Chain, latents: int, components: int = 1) -> ContextPrediction:
    """Returns the context model of Minnen, Ballé, Toderici (NeurIPS 2018), with a 5×5 mask.

    Args:
        features: network that reads hyper-latents.
        latents: number of channels of the latents.
        components: number of Gaussians per latent.
    """
    order = Raster(5)
    spatial_context = MaskedConv2D(2 * latents, order.mask(5), kernel="plain", name="near")
    parameters = [
        Conv2D(latents * 10 // 3, 1, activation=leaky_relu, kernel="plain", name="mix0"),
        Conv2D(latents * 8 // 3, 1, activation=leaky_relu, kernel="plain", name="mix1"),
        Conv2D(outputs_per_latent(components) * latents, 1, kernel="plain", name="heads"),
    ]
    slices = [JointSlice(parameters, spatial_context, order, components=components)]
    return ContextPrediction(features, slices)
