"""Layers of transforms and context networks: convolutions, activations, gains, residual blocks.

Every layer computes in the dtype of its input. This package imports no other package of tfc_models.
"""

from tfc_models.layers.activation import leaky_relu, relu
from tfc_models.layers.chain import Chain
from tfc_models.layers.channel_norm import ChannelNorm
from tfc_models.layers.compression_layer import (
    CompressionLayer,
    Parameters,
    check_layers,
    check_state,
    part_of,
)
from tfc_models.layers.conv import Conv2D, Upsampling
from tfc_models.layers.gain import Gain, level_weights, rate_of_each
from tfc_models.layers.gdn import GDN, nonlinearity
from tfc_models.layers.masked import MaskedConv2D, checkerboard_mask, raster_mask
from tfc_models.layers.multiply import convolved
from tfc_models.layers.padding import pad_to_multiple
from tfc_models.layers.precision import bfloat16_pays, compute_dtype, setting_for_gradients
from tfc_models.layers.residual import Attention, GainedResidual, Residual, bottleneck
from tfc_models.layers.shrinkage import HardShrinkage
from tfc_models.layers.tiling import tiled

__all__ = [
    "GDN",
    "Attention",
    "Chain",
    "ChannelNorm",
    "CompressionLayer",
    "Conv2D",
    "Gain",
    "GainedResidual",
    "HardShrinkage",
    "MaskedConv2D",
    "Parameters",
    "Residual",
    "Upsampling",
    "bfloat16_pays",
    "bottleneck",
    "check_layers",
    "check_state",
    "checkerboard_mask",
    "compute_dtype",
    "convolved",
    "leaky_relu",
    "level_weights",
    "nonlinearity",
    "pad_to_multiple",
    "part_of",
    "raster_mask",
    "rate_of_each",
    "relu",
    "setting_for_gradients",
    "tiled",
]
