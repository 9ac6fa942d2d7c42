"""Networks with the same output, bit for bit, on every machine.

A range decoder needs the probability tables that the encoder used. A float network that predicts
them is not sufficient: another processor, thread count or library sums in another order. If the
last bit differs, a scale may cross a rounding boundary, and all latents after it are wrong.

Networks are therefore converted to integers. The idea is that of Ballé, Johnston, Minnen, "Integer
Networks for Data Compression with Latent-Variable Models" (ICLR 2019); the arithmetic differs.
Weights and activations become integers times a power of two per channel, and are multiplied in
floating point. This is exact while every partial sum stays below 2^24 in float32: no order of
summation, FMA or vector width changes a bit. Where sums could be larger, inputs are split into
groups, and the results of the groups are added in float64, where they stay below 2^53.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.layers import Conv2D, convolved
from tfc_models.layers.activation import LEAK, leaky_relu, relu

# Defaults. A frozen model stores the exponents of its weights, and its activation bits if they
# differ from the default, which must therefore not change.
WEIGHT_BITS = 9
ACTIVATION_BITS = 8
FLOAT32_EXACT = 2**24
FLOAT64_EXACT = 2**53
LARGEST_INPUT = 127  # Networks clip integer latents to ±127.


def _power_at_most(limit: float, values: np.ndarray) -> np.ndarray:
    """Returns exponents k, at most 28, such that values·2^k ≤ limit, per element.

    The exponent of 0 is 12, because a filter of zeros still has a bias to resolve.
    """
    exponents = np.floor(np.log2(limit / np.where(values > 0, values, 1.0)))
    return np.where(values > 0, np.minimum(exponents, 28), 12).astype(np.int32)


class _ExactConv:
    """Convolution on integers: pieces of its kernel, and its bias."""

    def __init__(self, layer: Conv2D, kernel: np.ndarray, bias: np.ndarray, bound: np.ndarray):
        self.layer = layer
        self.tiled_bias = tf.constant(np.tile(bias, layer.up**2), tf.float64)
        self._bound = bound
        self.whole = self._folded(kernel)
        largest = self._reach(0, len(bound)) + np.abs(bias).max()
        if largest >= FLOAT64_EXACT:
            raise ValueError(f"{layer.name}: sums up to {largest:.3g} are not exact in float64.")
        self._set_pieces()

    def _set_pieces(self) -> None:
        self.pieces = self._split()
        # With one piece, the sums and their bias may be exact in float32 as well.
        bias = float(tf.reduce_max(tf.abs(self.tiled_bias)))
        largest = self._reach(0, len(self._bound)) + bias
        self.fits_float32 = len(self.pieces) == 1 and largest < FLOAT32_EXACT

    def _folded(self, kernel: np.ndarray) -> tf.Tensor:
        folded = tf.constant(kernel, tf.float64)
        return self.layer.upsampling.kernel(folded) if self.layer.upsampling else folded

    def _reach(self, first: int, end: int) -> float:
        """Returns a bound of all partial sums over some inputs: Σ |weight| · largest |input|."""
        reach = tf.abs(self.whole[:, :, first:end]) * self._bound[first:end, None]
        return float(tf.reduce_max(tf.reduce_sum(reach, axis=(0, 1, 2))))

    def _split(self) -> list[tuple[int, int, tf.Tensor]]:
        """Returns the fewest groups of inputs with exact sums: first, end, and their weights."""
        inputs = len(self._bound)
        for count in range(1, inputs + 1):
            ends = np.linspace(0, inputs, count + 1).astype(int)
            groups = list(zip(ends[:-1].tolist(), ends[1:].tolist()))
            if max(self._reach(*group) for group in groups) < FLOAT32_EXACT:
                kernel = tf.cast(self.whole, tf.float32)
                return [(first, end, kernel[:, :, first:end]) for first, end in groups]
        raise ValueError(f"{self.layer.name} has weights too large for exact float32.")

    def over_taps(self, taps: np.ndarray) -> _ExactConv:
        """Returns the convolution for windows: inputs under some taps, concatenated."""
        other = copy.copy(self)
        flat = tf.reshape(self.whole, [-1, *self.whole.shape[2:]])
        other.whole = tf.reshape(tf.gather(flat, taps), [1, 1, -1, self.whole.shape[3]])
        other._bound = np.tile(self._bound, len(taps))
        other._set_pieces()
        return other

    def integers(self) -> list[np.ndarray]:
        """Returns the kernel as it is multiplied, and the bias."""
        return [self.whole.numpy(), self.tiled_bias.numpy()]

    def accumulate(self, maps: tf.Tensor, fast: bool) -> tf.Tensor:
        """Returns exact integer sums before depth_to_space, in float32 where it holds them."""
        if not fast:
            return self._sums(tf.cast(maps, tf.float64), self.whole) + self.tiled_bias
        maps = tf.cast(maps, tf.float32)
        if len(self.pieces) == 1:
            sums = [self._sums(maps, self.pieces[0][2])]
        else:
            sums = [self._sums(maps[..., a:b], piece) for a, b, piece in self.pieces]
        if self.fits_float32:
            return tf.nn.bias_add(sums[0], tf.cast(self.tiled_bias, tf.float32))
        return tf.add_n([tf.cast(s, tf.float64) for s in sums]) + self.tiled_bias

    def _sums(self, maps: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if kernel.shape[:2] != [1, 1]:
            upsampling = self.layer.upsampling
            return convolved(maps, kernel, 1, upsampling.padding if upsampling else None)
        # A matrix product is faster than a 1×1 convolution for the few latents of a wavefront.
        rows = tf.reshape(maps, [-1, kernel.shape[2]])
        shape = tf.concat([tf.shape(maps)[:3], [kernel.shape[3]]], 0)
        return tf.reshape(tf.matmul(rows, kernel[0, 0]), shape)


class _ExactParts:
    """Convolution with inputs of two kinds, the first of which has finer weights.

    Latents have large values and features small ones, so that weights of one unit would leave few
    levels for features. The sums of the first kind are multiplied by a power of two and rounded
    to the unit of the others, which is exact.
    """

    def __init__(
        self, layer: Conv2D, inputs: Integers, shift: np.ndarray, finer: np.ndarray, first: int
    ) -> None:
        self.layer, self._inputs = layer, first
        kernel, _ = integer_weights(layer, inputs.exponent, shift + finer)
        zero = np.zeros(layer.filters)
        self._first = _ExactConv(layer, kernel[:, :, :first], zero, inputs.bound[:first])
        kernel, bias = integer_weights(layer, inputs.exponent, shift)
        self._rest = _ExactConv(layer, kernel[:, :, first:], bias, inputs.bound[first:])
        self._unit = np.tile(np.exp2(-finer.astype(np.float64)), layer.up**2)

    @property
    def pieces(self) -> list[tuple[int, int, tf.Tensor]]:
        """See `_ExactConv`."""
        return [*self._first.pieces, *self._rest.pieces]

    def integers(self) -> list[np.ndarray]:
        """See `_ExactConv`."""
        return [*self._first.integers(), *self._rest.integers()]

    def accumulate(self, maps: tf.Tensor, fast: bool) -> tf.Tensor:
        """See `_ExactConv`; float64."""
        first = self._first.accumulate(maps[..., : self._inputs], fast)
        first = tf.round(tf.cast(first, tf.float64) * self._unit)
        return first + tf.cast(self._rest.accumulate(maps[..., self._inputs :], fast), tf.float64)


class Integers(NamedTuple):
    """Scale of integers per channel (value = integer / 2^exponent), and their largest magnitude."""

    exponent: np.ndarray
    bound: np.ndarray

    def beside(self, other: Integers) -> Integers:
        """Returns the integers of concatenated channels."""
        return Integers(*(np.concatenate(pair) for pair in zip(self, other)))


def latent_integers(channels: int) -> Integers:
    """Returns the integers of rounded latents."""
    return Integers(np.zeros(channels, np.int32), np.full(channels, LARGEST_INPUT, np.float64))


def activation_integers(exponent: np.ndarray, bits: int = ACTIVATION_BITS) -> Integers:
    """Returns the integers of an activation's output."""
    return Integers(exponent, np.full(len(exponent), 2**bits - 1, np.float64))


class ExactNetwork:
    """Chain of `Conv2D` layers (ReLU, leaky ReLU or nothing between) in exact arithmetic.

    `shifts` holds the power-of-two exponents of the weights and of the output activations of
    every layer. With the layers' float values they determine every integer, so that a stored
    model is rebuilt identically on every machine.

    Args:
        layers: the chain.
        shifts: see above.
        inputs: integers of the inputs; None: rounded latents.
        activated: whether the last layer's activation is applied and rounded, for other exact
            networks to read.
        bits: precision of activations.

    Attributes:
        units: for each layer, the exponents e of its inputs and s of its outputs. Its kernel is
            an integer times 2^(e - s). None if that does not hold for all inputs.
    """

    def __init__(
        self,
        layers: list[Conv2D],
        shifts: dict[str, np.ndarray],
        inputs: Integers | None = None,
        activated: bool = False,
        bits: int = ACTIVATION_BITS,
    ) -> None:
        self.shifts, self.bits = shifts, bits
        self._convs: list[_ExactConv | _ExactParts] = []
        self.units: list[tuple[np.ndarray, np.ndarray] | None] = []
        self._activated = activated
        inputs = inputs or latent_integers(layers[0].kernel.shape[2])
        self.inputs = inputs
        for i, layer in enumerate(layers):
            if layer.down != 1 or layer.activation not in (None, relu, leaky_relu):
                raise ValueError(f"{layer.name} has no exact form (strided, or its activation).")
            conv: _ExactConv | _ExactParts
            weights = shifts[f"weights{i}"]
            one_unit = f"finer{i}" not in shifts
            self.units.append((inputs.exponent, weights) if one_unit else None)
            if (finer := shifts.get(f"finer{i}")) is None:
                kernel, bias = integer_weights(layer, inputs.exponent, weights)
                conv = _ExactConv(layer, kernel, bias, inputs.bound)
            else:
                conv = _ExactParts(layer, inputs, weights, finer, int(shifts[f"first{i}"]))
            self._convs.append(conv)
            inputs = activation_integers(shifts[f"activations{i}"], bits)
        if not activated:
            inputs = Integers(shifts[f"weights{len(layers) - 1}"], inputs.bound)
        self.outputs = inputs
        self.fast = self._float32_is_exact()

    @property
    def pieces(self) -> list[int]:
        """Number of float32 convolutions that each layer takes."""
        return [len(conv.pieces) for conv in self._convs]

    def integers(self) -> list[np.ndarray]:
        """Returns the integer kernels and biases of all layers."""
        return [array for conv in self._convs for array in conv.integers()]

    def over_taps(self, taps: np.ndarray) -> ExactNetwork:
        """Returns a network of one layer for windows (see `_ExactConv.over_taps`)."""
        other = copy.copy(self)
        (conv,) = self._convs
        assert isinstance(conv, _ExactConv), "windows have one kind of input"
        other._convs = [conv.over_taps(taps)]
        other.inputs = Integers(*(np.tile(values, len(taps)) for values in self.inputs))
        # Windows are multiplied by another operation.
        other.fast = other._float32_is_exact()
        return other

    @property
    def outputs_exponent(self) -> np.ndarray:
        """Exponents of two by which outputs are scaled."""
        return self.outputs.exponent

    def _float32_is_exact(self) -> bool:
        """Returns whether float32 is exact; libraries may multiply in lower precision."""
        bound = self.inputs.bound
        sample = np.random.default_rng(0).integers(-bound, bound, (1, 3, 4, len(bound)))
        sample = tf.constant(sample, tf.float32)
        fast = tf.cast(self(sample, fast=True), tf.float64)
        return bool(tf.reduce_all(fast == self(sample, fast=False)))

    def __call__(self, latents: tf.Tensor, fast: bool | None = None) -> tf.Tensor:
        """Returns exact integers: the last layer's sums, or its rounded activations.

        Divided by 2^outputs_exponent, they approximate the outputs of the float network.
        """
        fast = self.fast if fast is None else fast
        # GPUs may use Winograd or TF32, which round.
        with tf.device("/CPU:0"):
            bound = tf.constant(self.inputs.bound, latents.dtype)
            maps = tf.clip_by_value(latents, -bound, bound)
            for i, conv in enumerate(self._convs):
                sums = conv.accumulate(maps, fast)
                if self._activated or i < len(self._convs) - 1:
                    sums = self._requantize(sums, i, conv.layer)
                upsampling = conv.layer.upsampling
                maps = upsampling.images(sums) if upsampling else sums
            return maps

    def _requantize(self, sums: tf.Tensor, i: int, layer: Conv2D) -> tf.Tensor:
        """Returns the next layer's integers: activated, shifted and clipped."""
        exponent = self.shifts[f"activations{i}"] - self.shifts[f"weights{i}"]
        scale = np.tile(np.exp2(exponent.astype(np.float64)), layer.up**2)
        scale = tf.constant(scale, sums.dtype)
        largest = 2.0**self.bits - 1
        if layer.activation is leaky_relu:
            sums = tf.maximum(sums, sums * LEAK)
            return tf.clip_by_value(tf.round(sums * scale), -largest, largest)
        lowest = 0.0 if layer.activation is relu else -largest
        return tf.clip_by_value(tf.round(sums * scale), lowest, largest)


def integer_weights(
    layer: Conv2D, exponent: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns integer weights and biases of a layer whose inputs are integers times 2^-exponent.

    Scaling by a power of two and rounding are exact in float64, so every machine computes the
    same integers.
    """
    kernel = layer.kernel.numpy().astype(np.float64)
    kernel = kernel * np.exp2(-exponent.astype(np.float64))[:, None]
    scale = np.exp2(shift.astype(np.float64))
    bias = np.zeros(layer.filters) if layer.bias is None else layer.bias.numpy().astype(np.float64)
    return np.rint(kernel * scale), np.rint(bias * scale)


def find_shifts(
    layers: list[Conv2D],
    samples: list[tf.Tensor],
    inputs: Integers | None = None,
    first: int = 0,
    weight_bits: int = WEIGHT_BITS,
    activation_bits: int = ACTIVATION_BITS,
) -> dict[str, np.ndarray]:
    """Returns exponents: of weights as large as fits, of activations by their range.

    Activations beyond the largest value in the samples, rounded up to a power of two, are clipped,
    which costs rate and does not affect exactness.

    Args:
        layers: of the network.
        samples: inputs in floating point.
        inputs: integers of the inputs; None: rounded latents.
        first: number of first inputs whose weights may be finer.
        weight_bits: precision of weights.
        activation_bits: precision of activations.
    """
    shifts: dict[str, Any] = {}
    inputs = inputs or latent_integers(samples[0].shape[-1])
    exponent, limit = inputs.exponent, inputs.bound * np.exp2(-inputs.exponent.astype(np.float64))
    limit = tf.constant(limit, tf.float32)
    maps = [tf.clip_by_value(tf.cast(sample, tf.float32), -limit, limit) for sample in samples]
    for i, layer in enumerate(layers):
        kernel = layer.kernel.numpy().astype(np.float64)
        kernel = kernel * np.exp2(-exponent.astype(np.float64))[:, None]
        most = 2.0 ** (weight_bits - 1) - 1
        largest_weight = np.abs(kernel).max(axis=(0, 1, 2))
        shifts[f"weights{i}"] = _power_at_most(most, largest_weight)
        if i == 0 and 0 < first < kernel.shape[2]:
            of_first = np.abs(kernel[:, :, :first]).max(axis=(0, 1, 2))
            finer = _power_at_most(most, of_first) - shifts["weights0"]
            if finer.max() > 0:
                shifts.update(finer0=np.maximum(finer, 0), first0=np.array(first, np.int32))
        maps = [layer(sample) for sample in maps]
        exponent = find_exponent(maps, activation_bits)
        shifts[f"activations{i}"] = exponent
    return shifts


def find_exponent(maps: list[tf.Tensor], bits: int = ACTIVATION_BITS) -> np.ndarray:
    """Returns the exponents with which values of maps fit into an activation's bits."""
    largest = np.max([tf.reduce_max(tf.abs(m), axis=(0, 1, 2)) for m in maps], axis=0)
    # Channels that are always zero get a thousandth of the layer's range.
    largest = np.maximum(largest, 1e-3 * max(float(largest.max()), 1e-6))
    return _power_at_most(2.0**bits - 1, largest)
