"""Initialization of a model's transforms with a nearly optimal linear transform.

A randomly initialized network trains for hours before it is as good as JPEG's transform. A chain of
strided convolutions can instead be initialized as a nearly optimal linear transform. Each stage is
the principal component analysis of the 2×2 (or 4×4) blocks of the previous stage's output, on the
central taps of its kernels. Together, the stages approximate the Karhunen–Loève transform of 16×16
blocks, truncated to the number of latent channels. The synthesis is the transpose, stage by stage,
or of all stages together if it has two layers. Normalizations are initialized near the identity,
residual blocks at zero, and the channels that the linear transform does not use with random
filters.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.entropy import Gains
from tfc_models.entropy.parameters import INDEX_ORIGIN, INDEX_STEP, SCALE_MAX, SCALE_MIN, SCALES
from tfc_models.layers import GDN, Chain, ChannelNorm, Conv2D, Residual
from tfc_models.models import CompressionModel
from tfc_models.models.distortion import parsed, squared_error_lambda
from tfc_models.training import data
from tfc_models.training.config import Config

CROPS = 300  # from which the principal components are estimated
NEAR_IDENTITY = {"gdn": 2e-4, "gdn1": 3e-3}  # γ, for a gain of 1.1 at 30 in both forms
UNUSED_SCALE = 0.03  # of the random weights of channels that the linear transform does not use
# A synthesis of two layers, with a linear and a nonlinear branch in the first:
MAP_SCALE = 8.0  # scale of the maps between the layers, so that kernels of both have similar sizes
# The nonlinear branch starts with small random maps and an inverse GDN that is far from the
# identity. Near the identity, training moves γ to 0, and the branch becomes linear.
BRANCH_DEVIATION = 0.1  # of its maps before the inverse GDN
BRANCH_BETA, BRANCH_GAMMA = 0.01, 1.0


def quantization_step(lmbda: float) -> float:
    """Returns the quantization step in gray levels that is optimal for `lmbda` at high rate.

    At high rate, the rate of an orthonormal coefficient falls by 1/(2 ln 2 · D) bits per unit of
    its distortion D. With 256 pixels per block and three colors per pixel, the optimum is
    D = 3/(2 ln 2 · lambda). D is step²/12.
    """
    return float(np.sqrt(12.0 * 3.0 / (2.0 * np.log(2.0) * lmbda)))


def linear_start(model: CompressionModel, images: np.ndarray, seed: int = 0) -> float:
    """Initializes a model's transforms; returns the fraction of the variance its latents keep.

    Args:
        model: a model whose transforms are stages of convolutions, with or without
            normalizations or residual blocks between them.
        images: crops, 0–255, with sides that are multiples of 16.
        seed: for the channels that the linear transform does not use.

    Raises:
        ValueError: the model normalizes every pixel, so that no linear transform is close to it.
    """
    if any(isinstance(layer, ChannelNorm) for layer in model.synthesis.layers):
        raise ValueError(
            f"{model.name} has no linear start, as it normalizes every pixel: give start=random, "
            "or a weights file."
        )
    has_gains = isinstance(getattr(model.coder, "rates", None), Gains)
    rng = np.random.default_rng(seed)
    down = [la for la in model.analysis.layers if isinstance(la, Conv2D)]
    up = [la for la in model.synthesis.layers if isinstance(la, Conv2D)][::-1]
    maps = (images.astype(np.float32) - 127.5) / 255.0
    total = maps.var(axis=(0, 1, 2), dtype=np.float64).sum() * 16.0**2
    two_layers = _two_layers(model.synthesis)
    step_lambda = squared_error_lambda(model.lmbda, parsed(model.distortion))
    # Scale of each channel of a stage's output, relative to an orthonormal transform.
    before = np.ones(3)
    basis = np.eye(3).reshape(1, 1, 3, 3)  # The orthonormal transform of all stages so far.
    for i, analysis in enumerate(down):
        blocks = tf.nn.space_to_depth(maps, analysis.down).numpy()
        size = blocks.shape[-1]
        flat = blocks.reshape(-1, size)
        exact = flat.astype(np.float64)
        values, vectors = np.linalg.eigh(exact.T @ exact / len(exact))
        vectors = vectors[:, ::-1][:, : analysis.filters]
        # Contiguous: NumPy multiplies reversed views without BLAS, many times slower.
        maps = flat @ np.ascontiguousarray(vectors, np.float32)
        maps = maps.reshape(*blocks.shape[:3], -1)
        if has_gains:
            # Half-whitened, so that residual blocks read channels of similar scale. Gains set the
            # quantization steps.
            after = np.maximum(values[::-1][: vectors.shape[1]], 1e-8) ** -0.25
        else:
            # Steps of 1 in the latents are steps of quantization_step in gray levels. Every stage
            # has an equal share of the gain: Adam's first steps would destroy a tiny kernel.
            gain = 255.0 / quantization_step(step_lambda)
            after = np.full(vectors.shape[1], gain ** ((i + 1) / len(down)))
        taps = vectors.reshape(analysis.down, analysis.down, len(before), -1)
        _assign(analysis, taps / before[:, None] * after, rng, first=i == 0)
        if two_layers:
            basis = _composed(taps, basis)
        else:
            taps = (taps * before[:, None] / after).swapaxes(2, 3)
            _assign(up[i], taps, rng, transpose=True)
        before = after
    if two_layers:
        deviation = before * np.sqrt(np.mean(np.square(maps), axis=(0, 1, 2)))
        _start_two_layers(two_layers, basis / before, deviation, rng, model.name)
    for layer in (*model.analysis.layers, *model.synthesis.layers):
        if isinstance(layer, GDN):
            size = int(layer.gamma.shape[0])
            gamma = NEAR_IDENTITY[layer.form] * np.eye(size)
            layer.assign_state({"beta": np.ones(size), "gamma": gamma})
    for layer, inputs in model.coder.context_inputs():
        _zero_last_inputs(layer, inputs)
    if has_gains:
        _start_gains(model, maps, before)
    else:
        model.coder.start_scales(_scale_index(before * _mean_magnitude(maps)))
    return float(maps.var(axis=(0, 1, 2), dtype=np.float64).sum() / total)


def _composed(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Returns a block transform that applies `outer` to the blocks of `inner`'s outputs."""
    product = np.einsum("abmk,pqcm->apbqck", outer, inner)
    height, width = outer.shape[0] * inner.shape[0], outer.shape[1] * inner.shape[1]
    return product.reshape(height, width, inner.shape[2], outer.shape[3])


class _TwoLayers(NamedTuple):
    """Layers of a synthesis of two layers, the first of which has two branches."""

    linear: Conv2D
    nonlinear: Conv2D
    igdn: GDN
    last: Conv2D


def _two_layers(synthesis: Chain) -> _TwoLayers | None:
    """Returns the layers of a synthesis that ends in two layers, and None for any other."""
    if len(synthesis.layers) < 2:
        return None
    branches, last = synthesis.layers[-2:]
    if not isinstance(branches, Residual) or not isinstance(last, Conv2D):
        return None
    inside: list[Any] = [branches.skip, *branches.layers]
    if [type(layer) for layer in inside] != [Conv2D, Conv2D, GDN]:
        return None
    linear, nonlinear, igdn = inside
    return _TwoLayers(linear, nonlinear, igdn, last)


def _start_two_layers(
    layers: _TwoLayers,
    basis: np.ndarray,
    deviation: np.ndarray,
    rng: np.random.Generator,
    model: str,
) -> None:
    """Sets a synthesis of two layers to sums of patches, one patch for each latent.

    The linear branch of the first layer computes blocks of pixels as channels. The last layer moves
    the channels to their pixels.

    Args:
        layers: the synthesis.
        basis: patches, height × width × colors × latents.
        deviation: root of the mean square of each latent.
        rng: for the nonlinear branch and for channels that are not used.
        model: name of the model, for messages.
    """
    linear, nonlinear, igdn, last = layers
    colors, latents = basis.shape[2:]
    channels = last.up**2 * colors
    if linear.filters < channels:
        raise ValueError(
            f"{model} has no linear start with {linear.filters} maps: give {channels} or more, "
            "or start=random."
        )
    pixels = np.eye(channels).reshape(last.up, last.up, colors, channels).swapaxes(2, 3)
    _assign(last, pixels / MAP_SCALE, rng, transpose=True)
    blocks = basis.reshape(linear.up, last.up, linear.up, last.up, colors, latents)
    blocks = blocks.transpose(0, 2, 5, 1, 3, 4).reshape(linear.up, linear.up, latents, channels)
    _assign(linear, blocks * MAP_SCALE, rng, transpose=True)
    kernel = rng.normal(size=nonlinear.kernel.shape)
    size = nonlinear.size / nonlinear.up * np.linalg.norm(deviation)  # of its outputs
    kernel *= BRANCH_DEVIATION / size
    nonlinear.assign_state({"kernel": kernel, "bias": np.zeros(nonlinear.filters)})
    maps = linear.filters
    beta, gamma = np.full(maps, BRANCH_BETA), np.full([maps, maps], BRANCH_GAMMA)
    igdn.assign_state({"beta": beta, "gamma": gamma})


def _zero_last_inputs(layer: Conv2D, inputs: int) -> None:
    """Sets the weights of a layer's last inputs, those of an untrained context, to zero."""
    kernel = np.array(layer.kernel)
    kernel[:, :, kernel.shape[2] - inputs :] = 0.0
    layer.assign_state({**layer.state(), "kernel": kernel})


def _start_gains(model: CompressionModel, maps: np.ndarray, scale: np.ndarray) -> None:
    """Sets the gains to each rate's quantization step, and scale indexes that fit the latents.

    Args:
        model: a variable-rate model.
        maps: coefficients of the orthonormal transform.
        scale: of each channel of the analysis, relative to an orthonormal transform.
    """
    levels = model.lambda_at(tf.linspace(0.0, 100.0, model.levels)).numpy()
    terms = parsed(model.distortion)
    steps = [quantization_step(squared_error_lambda(lmbda, terms)) for lmbda in levels]
    gains = 255.0 / np.array(steps)[:, None]
    model.analysis.layers[-1].logarithm.assign(np.log(gains / scale))
    model.synthesis.layers[0].logarithm.assign(np.log(scale / gains))
    coder: Any = model.coder
    for head in coder.prediction.heads:
        head.assign_state({**head.state(), "kernel": 0.1 * head.kernel})
    if coder.context_inputs():
        # A context reads latents divided by this gain: coefficients that do not depend on the rate.
        coder.rates.mean_gain.logarithm.assign(np.log(gains / scale))
    index = _scale_index(gains * _mean_magnitude(maps))
    coder.rates.index_offset.assign((index - INDEX_ORIGIN) / INDEX_STEP)


def _mean_magnitude(maps: np.ndarray) -> np.ndarray:
    """Returns the mean magnitude of each channel.

    Coefficients are more peaked than Gaussians. Their mean magnitude fits better as a scale than
    their standard deviation.
    """
    return np.abs(maps).reshape(-1, maps.shape[-1]).mean(axis=0)


def _scale_index(deviation: np.ndarray) -> np.ndarray:
    """Returns scale indexes for deviations, except the two smallest indexes."""
    index = np.log(np.maximum(deviation, SCALE_MIN) / SCALE_MIN) / np.log(SCALE_MAX / SCALE_MIN)
    return np.clip((SCALES - 1) * index, 2, SCALES - 1)


def _assign(
    layer: Conv2D,
    taps: np.ndarray,
    rng: np.random.Generator,
    transpose: bool = False,
    first: bool = False,
) -> None:
    """Sets the central taps of a kernel to a block transform (height × width × inputs × outputs).

    Args:
        layer: the convolution.
        taps: the block transform.
        rng: for the channels that the block transform does not use.
        transpose: whether the layer is part of the synthesis.
        first: whether the layer is the first of the analysis.
    """
    shape = layer.kernel.shape
    kernel = rng.normal(size=shape) / np.sqrt(np.prod(shape[:3]) / layer.up**2)
    _, width, inputs, outputs = taps.shape
    # Unused channels are computed by random filters of normal scale. The weights of layers that
    # read them are small.
    if transpose:
        kernel *= UNUSED_SCALE
    else:
        kernel[:, :, :, :outputs] *= 0.0 if first else UNUSED_SCALE
    kernel[:, :, :inputs, :outputs] = 0.0
    start = (layer.size - width) // 2
    kernel[start : start + width, start : start + width, :inputs, :outputs] = taps
    zeros = {k: np.zeros(v.shape) for k, v in layer.state().items()}
    layer.assign_state({**zeros, "kernel": kernel})


def start_from(model: CompressionModel, source: str, config: Config) -> float:
    """Fits `linear_start` to the run's first crops; returns the fraction of variance it keeps."""
    crops = data.crops_for(config, source).take(CROPS)
    return linear_start(model, np.stack(list(crops.as_numpy_iterator())), config.seed)
