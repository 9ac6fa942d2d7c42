"""Starts a model's transforms at the linear optimum instead of at random.

A network started at random learns to be a transform first, for hours, and to be a better
one than JPEG's after that. A chain of strided convolutions can begin as a linear transform
that is near the best: each stage is the principal component analysis of the 2×2 (or 4×4)
blocks of the stage before, on the middle taps of its kernels; together they are close to the
Karhunen–Loève transform of 16×16 blocks, cut to the latents' number. The synthesis is its
transpose. Normalizations start near the identity, residual blocks at zero, and channels that
the linear part leaves free as random filters, for training to find a use for.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfc_models.entropy.parameters import INDEX_ORIGIN, INDEX_STEP, SCALE_MAX, SCALE_MIN, SCALES
from tfc_models.layers import GDN, ChannelNorm, Conv2D
from tfc_models.models import CompressionModel
from tfc_models.models.distortion import parsed, squared_error_lambda
from tfc_models.training import data
from tfc_models.training.config import Config

SAMPLES = 300  # crops that the principal components are of
NEAR_IDENTITY = {"gdn": 2e-4, "gdn1": 3e-3}  # γ: 1.1 times at 30, in both forms
STRAY = 0.03  # weights of the channels that the linear part leaves free


def quantization_step(lmbda: float) -> float:
    """The step, in grey levels, at which bits and squared error trade at `lmbda`.

    At high rate an orthonormal coefficient's rate falls by 1/(2 ln 2 · D) bits for each unit
    of D, with 256 pixels to a block and three colours to a pixel: D = 3/(2 ln 2 · lambda),
    and D is step²/12.
    """
    return float(np.sqrt(12.0 * 3.0 / (2.0 * np.log(2.0) * lmbda)))


def linear_start(model: CompressionModel, pictures: np.ndarray, seed: int = 0) -> float:
    """Sets the transforms of `model`; returns the variance fraction that its latents keep.

    Args:
        model: a model whose transforms are stages of convolutions, with or without
            normalizations or residual blocks between them.
        pictures: crops, 0–255, with sides that are multiples of 16.
        seed: for the free channels.

    Raises:
        ValueError: the model normalizes every pixel, and is near no linear transform.
    """
    if any(isinstance(layer, ChannelNorm) for layer in model.synthesis.layers):
        raise ValueError(
            f"{model.name} has no linear start, as it normalizes every pixel: give start=random, "
            "or a weights file."
        )
    rng = np.random.default_rng(seed)
    down = [la for la in model.analysis.layers if isinstance(la, Conv2D)]
    up = [la for la in model.synthesis.layers if isinstance(la, Conv2D)][::-1]
    maps = (pictures.astype(np.float32) - 127.5) / 255.0
    total = maps.var(axis=(0, 1, 2), dtype=np.float64).sum() * 16.0**2
    step_lambda = squared_error_lambda(model.lmbda, parsed(model.distortion))
    # What each channel of a stage's output is multiplied by, against a pure rotation.
    before = np.ones(3)
    for i, (analysis, synthesis) in enumerate(zip(down, up)):
        blocks = tf.nn.space_to_depth(maps, analysis.down).numpy()
        size = blocks.shape[-1]
        flat = blocks.reshape(-1, size)
        exact = flat.astype(np.float64)
        values, vectors = np.linalg.eigh(exact.T @ exact / len(exact))
        vectors = vectors[:, ::-1][:, : analysis.filters]
        # Contiguous: NumPy multiplies reversed views without BLAS, many times slower.
        maps = flat @ np.ascontiguousarray(vectors, np.float32)
        maps = maps.reshape(*blocks.shape[:3], -1)
        if model.many_rates:
            # Half-whitened, so that no channel drowns in the blocks; gains do the rest.
            after = np.maximum(values[::-1][: vectors.shape[1]], 1e-8) ** -0.25
        else:
            # Steps of one in the latents are to be steps of quantization_step in grey levels,
            # by equal parts: a kernel of tiny weights would not survive Adam's first steps.
            gain = 255.0 / quantization_step(step_lambda)
            after = np.full(vectors.shape[1], gain ** ((i + 1) / len(down)))
        taps = vectors.reshape(analysis.down, analysis.down, len(before), -1)
        _assign(analysis, taps / before[:, None] * after, rng, first=i == 0)
        taps = (taps * before[:, None] / after).swapaxes(2, 3)
        _assign(synthesis, taps, rng, transpose=True)
        before = after
    for layer in (*model.analysis.layers, *model.synthesis.layers):
        if isinstance(layer, GDN):
            size = int(layer.gamma.shape[0])
            gamma = NEAR_IDENTITY[layer.form] * np.eye(size)
            layer.assign_state({"beta": np.ones(size), "gamma": gamma})
    for layer, inputs in model.coder.context_inputs():
        _ignore(layer, inputs)
    if model.many_rates:
        _start_gains(model, maps, before)
    else:
        model.coder.start_scales(_scale_index(before * _mean_magnitude(maps)))
    return float(maps.var(axis=(0, 1, 2), dtype=np.float64).sum() / total)


def _ignore(layer: Conv2D, inputs: int) -> None:
    """Starts a layer deaf to its last inputs: those of a context, which knows nothing yet."""
    kernel = np.array(layer.kernel)
    kernel[:, :, kernel.shape[2] - inputs :] = 0.0
    layer.assign_state({**layer.state(), "kernel": kernel})


def _start_gains(model: CompressionModel, maps: np.ndarray, scale: np.ndarray) -> None:
    """Gains of the steps of each rate, and scales that fit the coefficients then.

    Args:
        model: a model of many rates.
        maps: coefficients of the linear transform, before the channels' `scale`.
        scale: what the stages multiply them by.
    """
    levels = model.lambda_at(tf.linspace(0.0, 100.0, model.levels)).numpy()
    terms = parsed(model.distortion)
    steps = [quantization_step(squared_error_lambda(lmbda, terms)) for lmbda in levels]
    gains = 255.0 / np.array(steps)[:, None]
    model.analysis.layers[-1].logarithm.assign(np.log(gains / scale))
    model.synthesis.layers[0].logarithm.assign(np.log(scale / gains))
    coder = model.coder
    for last in coder.prediction.heads:
        last.assign_state({**last.state(), "kernel": 0.1 * last.kernel})
    if coder.context_inputs():
        # A context reads latents divided by it: coefficients, whatever the rate.
        coder.rates.mean_gain.logarithm.assign(np.log(gains / scale))
    index = _scale_index(gains * _mean_magnitude(maps))
    coder.rates.index_offset.assign((index - INDEX_ORIGIN) / INDEX_STEP)


def _mean_magnitude(maps: np.ndarray) -> np.ndarray:
    """Per channel. Coefficients are more peaked than Gaussian: it fits better than a deviation."""
    return np.abs(maps).reshape(-1, maps.shape[-1]).mean(axis=0)


def _scale_index(deviation: np.ndarray) -> np.ndarray:
    """Returns the indexes of scales, none of which is among the least."""
    index = np.log(np.maximum(deviation, SCALE_MIN) / SCALE_MIN) / np.log(SCALE_MAX / SCALE_MIN)
    return np.clip((SCALES - 1) * index, 2, SCALES - 1)


def _assign(
    layer: Conv2D,
    taps: np.ndarray,
    rng: np.random.Generator,
    transpose: bool = False,
    first: bool = False,
) -> None:
    """Puts a block transform (height × width × inputs × outputs) amid a kernel's taps."""
    shape = layer.kernel.shape
    kernel = rng.normal(size=shape) / np.sqrt(np.prod(shape[:3]) / layer.up**2)
    _, width, inputs, outputs = taps.shape
    # Free channels see the maps as any filters do; what reads them starts small.
    if transpose:
        kernel *= STRAY
    else:
        kernel[:, :, :, :outputs] *= 0.0 if first else STRAY
    kernel[:, :, :inputs, :outputs] = 0.0
    start = (layer.size - width) // 2
    kernel[start : start + width, start : start + width, :inputs, :outputs] = taps
    zeros = {k: np.zeros(v.shape) for k, v in layer.state().items()}
    layer.assign_state({**zeros, "kernel": kernel})


def start_from(model: CompressionModel, source: str, config: Config) -> float:
    """Fits `linear_start` to the run's first crops; returns the variance fraction it keeps."""
    crops = data.crops_for(config, source).take(SAMPLES)
    pictures = np.stack(list(crops.as_numpy_iterator()))
    return linear_start(model, pictures, config.seed)
