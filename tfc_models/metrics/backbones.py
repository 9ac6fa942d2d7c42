"""Feature networks of metrics: SqueezeNet 1.1, AlexNet and VGG-16.

Weights are an npz with torchvision's layer names (`net.0.weight`, kernels outputs × inputs × height
× width), in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable, NamedTuple

import numpy as np

from tfc_models.metrics.lazy import tf

# Normalization of inputs from −1 to 1: subtracted, then divided by.
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)

Layer = Callable[[Mapping[str, np.ndarray], "tf.Tensor"], "tf.Tensor"]


class Backbone(NamedTuple):
    """Network whose intermediate maps are features.

    Attributes:
        layers: layers in order.
        read: indexes of the layers whose outputs are features.
        channels: channels of the features, in the order of `read`.
        min_side: smallest image side that all layers accept.
    """

    layers: tuple[Layer, ...]
    read: tuple[int, ...]
    channels: tuple[int, ...]
    min_side: int

    def features(self, weights: Mapping[str, np.ndarray], images: tf.Tensor) -> list[tf.Tensor]:
        """Returns the features of NHWC images, sRGB 0 to 255, from the first layer to the last."""
        maps = (tf.cast(images, tf.float32) / 127.5 - 1.0 - SHIFT) / SCALE
        features = []
        for i, layer in enumerate(self.layers[: self.read[-1] + 1]):
            maps = layer(weights, maps)
            if i in self.read:
                features.append(maps)
        return features


def _convolved(
    weights: Mapping[str, np.ndarray], name: str, maps: tf.Tensor, stride: int, padding: int
) -> tf.Tensor:
    kernel = tf.constant(np.transpose(weights[f"{name}.weight"], [2, 3, 1, 0]))
    border = [padding, padding]
    maps = tf.nn.conv2d(maps, kernel, stride, [[0, 0], border, border, [0, 0]])
    return tf.nn.relu(tf.nn.bias_add(maps, weights[f"{name}.bias"]))


def _convolution(name: str, stride: int = 1, padding: int = 1) -> Layer:
    """Returns a convolution with a ReLU."""
    return lambda weights, maps: _convolved(weights, name, maps, stride, padding)


def _fire(name: str) -> Layer:
    """Returns a fire module: squeeze, then two parallel convolutions (Iandola et al. 2016)."""

    def layer(weights: Mapping[str, np.ndarray], maps: tf.Tensor) -> tf.Tensor:
        squeezed = _convolved(weights, f"{name}.squeeze", maps, 1, 0)
        one = _convolved(weights, f"{name}.expand1x1", squeezed, 1, 0)
        return tf.concat([one, _convolved(weights, f"{name}.expand3x3", squeezed, 1, 1)], -1)

    return layer


def _pool(size: int, whole: bool) -> Layer:
    """Returns max pooling with stride 2; unless `whole`, windows may extend beyond the border."""

    def layer(weights: Mapping[str, np.ndarray], maps: tf.Tensor) -> tf.Tensor:
        if not whole:  # Zeros never exceed the outputs of a ReLU.
            short = (size - tf.shape(maps)[1:3]) % 2
            maps = tf.pad(maps, [[0, 0], [0, short[0]], [0, short[1]], [0, 0]])
        return tf.nn.max_pool2d(maps, size, 2, "VALID")

    return layer


def _vgg() -> Backbone:
    layers: list[Layer] = []
    read, place = [], 0
    for count in (2, 2, 3, 3, 3):
        for _ in range(count):
            layers.append(_convolution(f"net.{place}"))
            place += 2  # torchvision counts ReLUs too
        read.append(len(layers) - 1)
        layers.append(_pool(2, whole=True))
        place += 1
    return Backbone(tuple(layers), tuple(read), (64, 128, 256, 512, 512), 16)


BACKBONES = {
    "squeeze": Backbone(
        (
            _convolution("net.0", stride=2, padding=0),
            _pool(3, whole=False),
            *(_fire("net.3"), _fire("net.4")),
            _pool(3, whole=False),
            *(_fire("net.6"), _fire("net.7")),
            _pool(3, whole=False),
            *(_fire(f"net.{i}") for i in (9, 10, 11, 12)),
        ),
        (0, 3, 6, 8, 9, 10, 11),
        (64, 128, 256, 384, 384, 512, 512),
        17,
    ),
    "alex": Backbone(
        (
            _convolution("net.0", stride=4, padding=2),
            _pool(3, whole=True),
            _convolution("net.3", padding=2),
            _pool(3, whole=True),
            *(_convolution(f"net.{i}") for i in (6, 8, 10)),
        ),
        (0, 2, 4, 5, 6),
        (64, 192, 384, 256, 256),
        31,
    ),
    "vgg": _vgg(),
}
