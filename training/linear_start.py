"""Starts a model's transforms at the linear optimum instead of at random.

A network started at random learns to be a transform first, for hours, and to be a better
one than JPEG's after that. A chain of four 5×5 convolutions can begin as a linear transform
that is near the best: each stage is the principal component analysis of the 2×2 blocks of
the stage before, on two of the five taps a side; together they are close to the
Karhunen–Loève transform of 16×16 blocks, cut to the latents' number. The synthesis is its
transpose. The normalizations start near the identity, and channels that the linear part
leaves free start as small random filters, for training to find a use for.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfc_models.layers import GDN
from tfc_models.models import CompressionModel
from training import data
from training.config import Config

SAMPLES = 300  # crops that the principal components are of
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
        model: a model whose transforms are stages of 5×5 convolutions by 2.
        pictures: crops, 0–255, with sides that are multiples of 16.
        seed: for the free channels.
    """
    rng = np.random.default_rng(seed)
    down = [la for la in model.analysis.layers if not isinstance(la, GDN)]
    up = [la for la in model.synthesis.layers if not isinstance(la, GDN)][::-1]
    if any(la.size != 5 or la.down != 2 for la in down):
        raise ValueError(f"{model.name} has no linear start: its stages are not 5×5 by 2.")
    maps = (pictures.astype(np.float32) - 127.5) / 255.0
    total = maps.var(axis=(0, 1, 2), dtype=np.float64).sum() * 16.0**2
    # Steps of one in the latents are steps of quantization_step in grey levels. The gain is
    # spread over the stages: a kernel of tiny weights would not survive Adam's first steps.
    gain = (255.0 / quantization_step(model.lmbda)) ** (1.0 / len(down))
    for analysis, synthesis in zip(down, up):
        blocks = tf.nn.space_to_depth(maps, 2).numpy()
        size = blocks.shape[-1]
        flat = blocks.reshape(-1, size).astype(np.float64)
        _, vectors = np.linalg.eigh(flat.T @ flat / len(flat))
        vectors = vectors[:, ::-1][:, : analysis.filters]
        maps = (blocks @ vectors).astype(np.float32)
        _assign(analysis, vectors * gain, size // 4, rng, transpose=False)
        _assign(synthesis, vectors / gain, size // 4, rng, transpose=True)
    for layer in (*model.analysis.layers, *model.synthesis.layers):
        if isinstance(layer, GDN):
            size = int(layer.gamma.shape[0])
            layer.assign_state({"beta": np.ones(size), "gamma": 0.003 * np.eye(size)})
    return float(maps.var(axis=(0, 1, 2), dtype=np.float64).sum() / total)


def _assign(
    layer: tf.keras.layers.Layer,
    vectors: np.ndarray,
    inputs: int,
    rng: np.random.Generator,
    transpose: bool,
) -> None:
    """Puts block vectors (4·inputs × outputs) on the middle taps of a 5×5 kernel."""
    shape = layer.kernel.shape
    fan_in = 25 * shape[2] / layer.up**2
    kernel = rng.normal(size=shape) * STRAY / np.sqrt(fan_in)
    outputs = vectors.shape[1]
    blocks = vectors.reshape(2, 2, inputs, outputs)
    if transpose:
        blocks = blocks.swapaxes(2, 3)
        kernel[:, :, :outputs, :inputs] = 0.0
        kernel[1:3, 1:3, :outputs, :inputs] = blocks
    else:
        # Free filters see the image as any first layer does; what reads them starts small.
        kernel[:, :, :, outputs:] *= 1.0 / STRAY
        kernel[:, :, :inputs, :outputs] = 0.0
        kernel[1:3, 1:3, :inputs, :outputs] = blocks
    state = layer.state()
    layer.assign_state({**{k: np.zeros(v.shape) for k, v in state.items()}, "kernel": kernel})


def start_from(model: CompressionModel, source: str, config: Config) -> float:
    """`linear_start` with crops of the training data; returns the variance that it keeps."""
    crops = data.crops(source, config.crop, config.downscale, config.seed)
    pictures = np.stack(list(crops.take(SAMPLES).as_numpy_iterator()))
    return linear_start(model, pictures, config.seed)
