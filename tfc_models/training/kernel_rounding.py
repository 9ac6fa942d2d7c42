"""Rounding of the kernels of a trained model to few bits.

Kernels of the transforms are rounded with feedback of errors (see
`tfc_models.weights.error_feedback`). The second derivatives of the loss are estimated with random
vectors: for the distortion, gradients of the reconstruction times normal noise; for the rate,
gradients of the bits, whose squares have the same mean as their second derivatives. Kernels of the
exact networks become the integers that these networks use, so that latents do not change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.entropy import LatentCoder
from tfc_models.layers import CompressionLayer, Conv2D
from tfc_models.models import CompressionModel
from tfc_models.training.fixed_model import stratified
from tfc_models.weights import CodedTensor
from tfc_models.weights.error_feedback import InputStatistics, rounded
from tfc_models.weights.steps import CODES_PER_OCTAVE

ROWS = 500
"""Inputs of each layer that are used of each crop; neighbouring ones are similar."""


class KernelStatistics(NamedTuple):
    """Second moments of a convolution's inputs, and the curvature of the loss by its outputs."""

    inputs: InputStatistics
    curvature: np.ndarray


Probe = Callable[[tf.Tensor, tf.random.Generator], tf.Tensor]
"""Function of images whose squared gradients have the second derivatives of a loss as mean."""


def model_convolutions(model: CompressionModel) -> dict[str, Conv2D]:
    """Returns the convolutions of the transforms by their names in the model's state."""
    layers: list[tuple[str, CompressionLayer]] = []
    for chain in (model.analysis, model.synthesis):
        layers += [(f"{chain.name}/{layer.name}", layer) for layer in chain.layers]
    if isinstance(model.coder, LatentCoder):
        chain = model.coder.hyper_analysis
        layers += [(f"hyper_analysis/{layer.name}", layer) for layer in chain.layers]
    return convolutions(layers)


def convolutions(layers: Iterable[tuple[str, CompressionLayer]]) -> dict[str, Conv2D]:
    """Returns the convolutions in named layers, by name."""
    result: dict[str, Conv2D] = {}
    for name, layer in layers:
        if isinstance(layer, Conv2D):
            result[name] = layer
        result.update(convolutions((f"{name}/{inner.name}", inner) for inner in layer.sublayers))
    return result


def _matrix(layer: Conv2D, kernel: tf.Tensor) -> np.ndarray:
    """Returns a kernel as inputs under its taps × outputs."""
    kernel = layer.upsampling.kernel(kernel) if layer.upsampling else kernel
    return np.reshape(kernel, [-1, kernel.shape[-1]])


def _inputs(layer: Conv2D, maps: tf.Tensor) -> tf.Tensor:
    """Returns the inputs under the taps of a convolution, positions × inputs."""
    size, stride, padding = layer.size, layer.down, "SAME"
    if layer.upsampling:
        ends = layer.upsampling.padding
        maps = tf.pad(maps, [[0, 0], ends, ends, [0, 0]])
        size, padding = layer.upsampling.taps, "VALID"
    taps = tf.image.extract_patches(
        maps, [1, size, size, 1], [1, stride, stride, 1], [1, 1, 1, 1], padding
    )
    return tf.reshape(taps, [-1, taps.shape[-1]])


class _Recorder:
    """Records the inputs and the outputs before activation of convolutions."""

    def __init__(self, layers: Mapping[str, Conv2D]) -> None:
        self.maps: dict[str, tuple[tf.Tensor, tf.Tensor]] = {}
        self._layers = list(layers.values())
        for name, layer in layers.items():
            self._wrap(name, layer)

    def _wrap(self, name: str, layer: Conv2D) -> None:
        convolve = layer.convolve

        def recorded(maps: tf.Tensor, *arguments: Any) -> tf.Tensor:
            outputs = convolve(maps, *arguments)
            self.maps[name] = maps, outputs
            return outputs

        # Keras would track a wrapper that is set as an attribute of a layer.
        object.__setattr__(layer, "convolve", recorded)

    def stop(self) -> None:
        """Restores the layers."""
        for layer in self._layers:
            object.__delattr__(layer, "convolve")


def find_statistics(
    layers: Mapping[str, Conv2D], probe: Probe, crops: Iterable[np.ndarray], seed: int = 0
) -> dict[str, KernelStatistics]:
    """Returns the statistics of convolutions.

    Args:
        layers: convolutions that are not frozen, by name.
        probe: function that evaluates them, in float32.
        crops: batches of training images.
        seed: of the rates and the random vectors.
    """
    moments = {name: np.zeros([1, 1]) for name in layers}
    curvature = {name: np.zeros([1]) for name in layers}
    examples = 0
    random = tf.random.Generator.from_seed(seed)
    numbers = np.random.default_rng(seed)
    recorder = _Recorder(layers)
    try:
        for batch in crops:
            images = tf.cast(batch, tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(images)
                value = probe(images, random)
            outputs = [recorder.maps[name][1] for name in layers]
            gradients = tape.gradient(
                value, outputs, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            for (name, layer), gradient in zip(layers.items(), gradients):
                inputs = _inputs(layer, recorder.maps[name][0]).numpy()
                count = min(len(inputs), ROWS * len(images))
                inputs = inputs[numbers.permutation(len(inputs))[:count]]
                moments[name] = moments[name] + inputs.T @ inputs * (len(images) / count)
                curvature[name] = curvature[name] + np.sum(np.square(gradient), (0, 1, 2))
            examples += len(images)
    finally:
        recorder.stop()
    if not examples:
        raise ValueError("statistics need at least one batch of crops.")
    return {
        name: KernelStatistics(
            InputStatistics(moments[name] / examples), curvature[name] / examples
        )
        for name in layers
    }


def model_probe(model: CompressionModel) -> Probe:
    """Returns the probe of a model's rate and distortion."""

    def probe(images: tf.Tensor, random: tf.random.Generator) -> tf.Tensor:
        rate, lmbda, weight = _rates(model, images, random)
        latents, bits = model.coder(model.to_latents(images, rate), training=True, rate=rate)
        distortion = _distortion(model.to_images(latents, rate), lmbda, weight, random)
        scale = tf.sqrt(weight * math.log(2.0) / _pixels(images))
        return tf.reduce_sum(distortion + tf.add_n(list(bits.values())) * scale)

    return probe


def decoder_probe(
    model: CompressionModel, decode: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
) -> Probe:
    """Returns the probe of the distortion of another decoder of a model's files.

    Args:
        model: the model.
        decode: returns images of latents, rates, and a random number from 0 to 1 per example.
    """

    def probe(images: tf.Tensor, random: tf.random.Generator) -> tf.Tensor:
        rate, lmbda, weight = _rates(model, images, random)
        latents, _ = model.coder(model.to_latents(images, rate), training=False, rate=rate)
        decoded = decode(tf.stop_gradient(latents), rate, random.uniform([tf.shape(images)[0]]))
        return tf.reduce_sum(_distortion(decoded, lmbda, weight, random))

    return probe


def _rates(
    model: CompressionModel, images: tf.Tensor, random: tf.random.Generator
) -> tuple[tf.Tensor | None, tf.Tensor, tf.Tensor]:
    """Returns rates, their lambdas, and the weights of the examples (see `GainedStem4`)."""
    if not model.many_rates:
        return None, tf.constant(model.lmbda), tf.constant(1.0)
    rate = 100.0 * stratified(random.uniform([tf.shape(images)[0]]))
    lmbda = model.lambda_at(rate)
    return rate, lmbda, tf.sqrt(model.lmbda / lmbda)


def _distortion(
    images: tf.Tensor, lmbda: tf.Tensor, weight: tf.Tensor, random: tf.random.Generator
) -> tf.Tensor:
    """Returns normal projections of images; lambda weights the mean squared error."""
    projected = tf.reduce_sum(random.normal(tf.shape(images)) * images, (1, 2, 3))
    return projected * tf.sqrt(2.0 * weight * lmbda / (3.0 * _pixels(images)))


def _pixels(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.reduce_prod(tf.shape(images)[1:3]), tf.float32)


def rounded_kernels(
    layers: Mapping[str, Conv2D],
    statistics: Mapping[str, KernelStatistics],
    step: float,
    zero_bias: float = 0.1,
) -> dict[str, CodedTensor]:
    """Returns the rounded kernels of convolutions, by their names in a state.

    Args:
        layers: convolutions of the statistics.
        statistics: result of `find_statistics`.
        step: step in units of the square root of the loss: larger is smaller and worse.
        zero_bias: see `tfc_models.weights.error_feedback.rounded`.
    """
    return {
        f"{name}/kernel": _rounded_kernel(layer, statistics[name], step, zero_bias)
        for name, layer in layers.items()
    }


def _rounded_kernel(
    layer: Conv2D, statistics: KernelStatistics, step: float, zero_bias: float
) -> CodedTensor:
    inputs, curvature = statistics
    # All phases of an upsampling layer's output have the same steps.
    curvature = curvature.reshape(layer.up**2, layer.filters).mean(0)
    tiled = np.tile(curvature, layer.up**2)
    matrix = _matrix(layer, layer.kernel)
    integers, row_codes, column_codes = rounded(matrix, inputs, tiled, step, zero_bias)
    column_codes = column_codes[: layer.filters]
    shape = tuple(layer.kernel.shape)
    if layer.upsampling:
        # Each tap of the kernel is in one place of the matrix; places without one are zeros.
        numbers = tf.reshape(1.0 + tf.range(math.prod(shape), dtype=tf.float64), shape)
        numbers = _matrix(layer, numbers).astype(np.int64)
        places = np.argsort(numbers.reshape(-1))[-math.prod(shape) :]
        integers = integers.reshape(-1)[places].reshape(-1, layer.filters)
        first_places = places.reshape(-1, layer.filters)[:, 0]
        row_codes = row_codes[first_places // numbers.shape[1]]
    return CodedTensor(shape, integers, row_codes, column_codes)


def exact_kernels(model: CompressionModel) -> dict[str, CodedTensor]:
    """Returns the kernels of a frozen model's exact networks as integers times powers of two."""
    if not isinstance(model.coder, LatentCoder):
        return {}
    networks = model.coder.prediction.networks
    layers, result = networks.layers_by_name(), {}
    for name, (exponents, shifts) in networks.kernel_units().items():
        kernel = model.plain_state[f"hyper_{name}/kernel"].astype(np.float64)
        scale = np.exp2(shifts.astype(np.float64) - exponents[:, None])
        integers = np.rint(kernel * scale).reshape(-1, kernel.shape[-1]).astype(np.int32)
        taps = layers[name].size ** 2
        rows = CODES_PER_OCTAVE * np.tile(exponents, taps)
        result[f"hyper_{name}/kernel"] = CodedTensor(
            kernel.shape, integers, rows.astype(np.int32), -CODES_PER_OCTAVE * shifts
        )
    return result
