"""Numbers of channels in a synthesis transform: reading, changing and counting them.

A group is a set of channels that can be removed from all layers which produce or read them. The
output of a convolution that upsamples, with the normalizations and residual blocks after it, is
one group, named as the convolution. The hidden maps of a residual block are another, named as the
block. Latents and the pixels of the image are not groups: their numbers are fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.layers import GDN, Chain, CompressionLayer, Conv2D, Gain, GainedResidual, part_of

Widths = dict[str, int]


def widths_of(synthesis: Chain) -> Widths:
    """Returns the number of channels of each group of a synthesis.

    Raises:
        ValueError: the synthesis has layers of which no channel can be removed.
    """
    last = [layer for layer in synthesis.layers if isinstance(layer, Conv2D)][-1]
    widths = {}
    for layer in synthesis.layers:
        if isinstance(layer, GainedResidual):
            widths[layer.name] = layer.expand.filters
        elif isinstance(layer, Conv2D) and layer is not last:
            widths[layer.name] = layer.filters
        elif not isinstance(layer, (Conv2D, Gain, GDN)):
            raise ValueError(
                f"channels of {type(layer).__name__} ({layer.name}) cannot be removed: choose a "
                "model whose synthesis has convolutions, GDN, gains and gained residual blocks."
            )
    return widths


def chain_of_widths(synthesis: Chain, widths: Mapping[str, int], inputs: int) -> Chain:
    """Returns a chain like `synthesis` with other numbers of channels and random weights.

    A residual block with 0 hidden channels is left out.

    Args:
        synthesis: the chain to follow.
        widths: number of channels of each group, as `widths_of` returns them.
        inputs: number of channels of the latents.
    """
    expected = widths_of(synthesis)
    blocks = {la.name for la in synthesis.layers if isinstance(la, GainedResidual)}
    if sorted(widths) != sorted(expected):
        raise ValueError(f"widths are those of {', '.join(expected)}; got {', '.join(widths)}.")
    for name, width in widths.items():
        if not (0 if name in blocks else 1) <= width <= expected[name]:
            raise ValueError(f"the width of {name} is at most {expected[name]}; got {width}.")
    layers: list[CompressionLayer] = []
    trunk = inputs
    for layer in synthesis.layers:
        if isinstance(layer, GainedResidual) and not widths[layer.name]:
            continue
        copy = _copy(layer, trunk, widths)
        copy.build(tf.TensorShape([None, None, None, trunk]))
        layers.append(copy)
        trunk = copy.filters if isinstance(copy, Conv2D) else trunk
    return Chain(layers, name=synthesis.name)


def _copy(layer: CompressionLayer, trunk: int, widths: Mapping[str, int]) -> CompressionLayer:
    """Returns a layer like another for `trunk` input channels, not built."""
    if isinstance(layer, Conv2D):
        return Conv2D(
            widths.get(layer.name, layer.filters),
            layer.size,
            layer.down,
            layer.up,
            use_bias=layer.use_bias,
            activation=layer.activation,
            kernel="plain",
            name=layer.name,
        )
    if isinstance(layer, GDN):
        return GDN(**layer.get_config())
    if isinstance(layer, Gain):
        return Gain(trunk, layer.levels, name=layer.name)
    assert isinstance(layer, GainedResidual)
    sizes = layer.expand.size, layer.reduce.size
    hidden = widths[layer.name]
    return GainedResidual(trunk, hidden, layer.gain.levels, sizes, name=layer.name)


def multiplications(synthesis: Chain, widths: Mapping[str, int], inputs: int) -> dict[str, float]:
    """Returns the multiplications per latent position of each layer with convolutions.

    Upsampling counts as it is computed: as a convolution to `up`² times the channels.

    Args:
        synthesis: the chain that `widths` belong to.
        widths: number of channels of each group.
        inputs: number of channels of the latents.
    """
    counts, trunk, area = {}, inputs, 1
    for layer in synthesis.layers:
        if isinstance(layer, Conv2D):
            outputs = widths.get(layer.name, layer.filters)
            counts[layer.name] = float(area * _taps(layer) * trunk * outputs * layer.up**2)
            trunk, area = outputs, area * layer.up**2
        elif isinstance(layer, GDN):
            counts[layer.name] = float(area * trunk**2)
        elif isinstance(layer, GainedResidual):
            taps = _taps(layer.expand) + _taps(layer.reduce)
            counts[layer.name] = float(area * taps * trunk * widths[layer.name])
    return counts


def _taps(layer: Conv2D) -> int:
    """Returns the number of taps of the convolution that is computed."""
    return (layer.upsampling.taps if layer.upsampling else layer.size) ** 2


def narrowed_state(
    synthesis: Chain, state: Mapping[str, Any], kept: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the weights of a synthesis with only some channels of each group.

    Args:
        synthesis: the chain that the weights belong to.
        state: its weights by name.
        kept: indexes of the channels to keep in each group.
    """
    narrow: dict[str, np.ndarray] = {}
    trunk: np.ndarray | slice = slice(None)
    for layer in synthesis.layers:
        weights = {k: np.asarray(v) for k, v in part_of(dict(state), f"{layer.name}/").items()}
        if isinstance(layer, Conv2D):
            outputs = kept.get(layer.name, slice(None))
            weights = _narrowed_conv(weights, trunk, outputs)
            trunk = outputs
        elif isinstance(layer, GDN):
            weights = {"beta": weights["beta"][trunk], "gamma": weights["gamma"][trunk][:, trunk]}
        elif isinstance(layer, Gain):
            weights = {"logarithm": weights["logarithm"][:, trunk]}
        else:
            hidden = kept[layer.name]
            if not len(hidden):
                continue
            parts = {n: part_of(weights, f"{n}/") for n in ("expand", "gain", "reduce")}
            parts["expand"] = _narrowed_conv(parts["expand"], trunk, hidden)
            parts["gain"] = {"logarithm": parts["gain"]["logarithm"][:, hidden]}
            parts["reduce"] = _narrowed_conv(parts["reduce"], hidden, trunk)
            weights = {f"{n}/{k}": v for n, part in parts.items() for k, v in part.items()}
        narrow.update({f"{layer.name}/{k}": v for k, v in weights.items()})
    return narrow


def _narrowed_conv(
    weights: dict[str, np.ndarray], inputs: np.ndarray | slice, outputs: np.ndarray | slice
) -> dict[str, np.ndarray]:
    """Returns the kernel and the bias of a convolution between some of its channels."""
    narrow = {"kernel": weights["kernel"][:, :, inputs][..., outputs]}
    return {**narrow, "bias": weights["bias"][outputs]} if "bias" in weights else narrow
