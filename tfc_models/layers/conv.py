"""Convolution that keeps, divides or multiplies the resolution."""

from __future__ import annotations

import functools
from typing import Any, Callable, NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.layers.multiply import Multiplies

KERNELS = ("rdft", "plain")


class Upsampling(NamedTuple):
    """Plan of a transposed convolution as a convolution, depth_to_space and a crop.

    A transposed convolution by `stride` fills the gaps between input samples with zeros and
    multiplies by them. Sorting the kernel's taps by the output phase that they reach leaves a small
    dense kernel with stride²·O outputs: 5×5 by 2 becomes 3×3 to 4·O, 8×8 by 4 becomes 2×2 to 16·O.
    The alignment is that of `tf.nn.conv2d_transpose(padding="SAME")`.

    Attributes:
        stride: factor of the resolution.
        taps: side of the small kernel.
        front: rows of zeros before the kernel, with which no rows need to be cropped, or 0.
        padding: rows of zeros before and after the maps.
        crop: rows to remove before the first one.
    """

    stride: int
    taps: int
    front: int
    padding: tuple[int, int]
    crop: int

    @classmethod
    def of(cls, size: int, stride: int) -> Upsampling:
        """Returns the plan for a kernel of size×size."""
        if size < stride:
            raise ValueError(f"upsampling by {stride} needs a kernel of at least {stride}×{stride}")
        taps = -(-size // stride)
        before = (size - stride) // 2
        front = -before % stride
        front = front if size + front <= taps * stride else 0
        before += front
        padding = taps - 1 - before // stride, (before - 1) // stride + 1
        return cls(stride, taps, front, padding, before % stride)

    def kernel(self, kernel: tf.Tensor) -> tf.Tensor:
        """Rearranges a size×size×I×O kernel to taps×taps×I×(stride²·O)."""
        size, _, inputs, outputs = kernel.shape
        ends = [self.front, self.taps * self.stride - size - self.front]
        kernel = tf.pad(kernel, [ends, ends, [0, 0], [0, 0]])
        sides = self.taps, self.stride
        kernel = tf.reshape(kernel, [*sides, *sides, inputs, outputs])
        kernel = tf.transpose(tf.reverse(kernel, [0, 2]), [0, 2, 4, 1, 3, 5])
        return tf.reshape(kernel, [self.taps, self.taps, inputs, self.stride**2 * outputs])

    def images(self, maps: tf.Tensor) -> tf.Tensor:
        """Returns the upsampled maps of a convolution's outputs."""
        maps = tf.nn.depth_to_space(maps, self.stride)
        if not self.crop:
            return maps
        inside = slice(self.crop, self.crop - self.stride)
        return maps[:, inside, inside]


@functools.cache
def fourier_basis(size: int) -> np.ndarray:
    """Returns the real discrete Fourier transform of size×size kernels as an orthonormal matrix.

    A real kernel's transform has conjugate values at a frequency and its opposite. One of the two
    rows holds the cosine, the other the sine. A product with this matrix takes a hundredth of the
    time of as many small FFTs.
    """
    y, x = np.mgrid[:size, :size]
    rows = []
    for u, v in np.ndindex(size, size):
        opposite = (-u % size, -v % size)
        phase = 2.0 * np.pi * (u * y + v * x) / size
        row = np.cos(phase) if (u, v) <= opposite else np.sin(phase)
        rows.append(row.ravel() / np.linalg.norm(row))
    return np.stack(rows).astype(np.float32)


class Conv2D(Multiplies):
    """Convolution that keeps, divides (`down`) or multiplies (`up`) the resolution.

    It computes in the dtype of its input, so a whole transform runs in bfloat16 when its first
    input is bfloat16, without casts in between; the variables stay float32.

    Padding is zeros, aligned as "SAME". Upsampling is polyphase (see `Upsampling`).

    `kernel="rdft"` trains the kernel through its real Fourier transform: plain Adam on those
    variables is the Sadam optimizer of Ballé, "Efficient Nonlinear Transforms for Lossy Image
    Compression" (PCS 2018), which decorrelates a kernel's gradients.
    """

    filters: int

    def __init__(
        self,
        filters: int,
        size: int,
        down: int = 1,
        up: int = 1,
        *,
        use_bias: bool = True,
        activation: Callable[[tf.Tensor], tf.Tensor] | None = None,
        kernel: str = "rdft",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if down > 1 and up > 1:
            raise ValueError(
                "a convolution divides or multiplies the resolution: set down or up to 1."
            )
        if kernel not in KERNELS:
            raise ValueError(f"kernel is one of {', '.join(KERNELS)}; got {kernel!r}.")
        self.filters, self.size, self.down, self.up = filters, size, down, up
        self.upsampling = Upsampling.of(size, up) if up > 1 else None
        self.use_bias, self.activation, self.parameterization = use_bias, activation, kernel
        self.bias = None
        self._folded: tf.Variable | None = None

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the kernel and the bias."""
        channels = tf.TensorShape(input_shape)[-1]
        shape = [self.size, self.size, channels, self.filters]
        # An upsampling kernel's taps are shared among up² phases.
        initializer = tf.keras.initializers.VarianceScaling(scale=float(self.up**2))
        self._set_kernel(initializer(shape))
        if self.use_bias:
            self.bias = self.add_weight("bias", [self.filters], initializer="zeros")
        super().build(input_shape)

    def _set_kernel(self, value: tf.Tensor) -> None:
        self._shape = value.shape
        if self._transformed:
            value = self._fourier(value, inverse=False)
        self._parameter = tf.Variable(value, name="kernel")

    @property
    def inputs(self) -> int:
        """Number of input channels."""
        return self._shape[2]

    @property
    def _transformed(self) -> bool:
        return self.parameterization == "rdft" and self.size > 1

    def _fourier(self, value: tf.Tensor, inverse: bool) -> tf.Tensor:
        """Transforms a kernel to or from the Fourier domain; taps become one axis."""
        taps = tf.reshape(tf.cast(value, tf.float32), [self.size**2, -1])
        taps = tf.matmul(fourier_basis(self.size), taps, transpose_a=inverse)
        return tf.reshape(taps, self._shape)

    @property
    def kernel(self) -> tf.Tensor:
        """Kernel as size×size×inputs×filters."""
        if self.frozen:
            raise RuntimeError(f"{self.name} is frozen: its kernel is folded for inference.")
        if self._transformed:
            return self._fourier(self._parameter, inverse=True)
        return tf.convert_to_tensor(self._parameter)

    def _folded_kernel(self) -> tf.Tensor:
        if self._folded is not None:
            return tf.convert_to_tensor(self._folded)
        return self.upsampling.kernel(self.kernel) if self.upsampling else self.kernel

    def freeze(self) -> None:
        """Replaces the parameterization of the kernel by the tensor that inference uses."""
        if not self.frozen:
            # Checkpoints tell it from the parameter by its name.
            self._folded = tf.Variable(self._folded_kernel(), trainable=False, name="kernel")
            self._parameter = None
        super().freeze()

    def state(self) -> dict[str, tf.Tensor]:
        """Returns the kernel and the bias, the same for every parameterization."""
        state = {"kernel": self.kernel}
        return state if self.bias is None else {**state, "bias": tf.identity(self.bias)}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the values that `state` returned."""
        kernel = state["kernel"]
        self._parameter.assign(
            self._fourier(kernel, inverse=False) if self._transformed else kernel
        )
        if self.bias is not None:
            self.bias.assign(state["bias"])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves NHWC maps and adds the bias."""
        bias, down, padding = self.bias, self.down, None
        if self.upsampling:
            padding = self.upsampling.padding
            # Before depth_to_space, so that convolution and bias are one operation.
            bias = None if bias is None else tf.tile(bias, [self.up**2])
        if self.size == 1 and down > 1:
            # The gradient of a strided 1×1 convolution in bfloat16 aborts in oneDNN.
            inputs, down = inputs[:, ::down, ::down], 1
        outputs = self.convolve(inputs, self._folded_kernel(), bias, down, padding)
        if self.activation is not None:
            outputs = self.activation(outputs)
        return self.upsampling.images(outputs) if self.upsampling else outputs

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **{k: getattr(self, k) for k in ("filters", "size", "down", "up", "use_bias", "name")},
            "activation": tf.keras.activations.serialize(self.activation),
            "kernel": self.parameterization,
        }
