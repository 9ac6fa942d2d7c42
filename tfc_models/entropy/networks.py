"""Networks of an entropy coder: floating point in training, exact integers after freezing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.entropy.exact import (
    ExactNetwork,
    Integers,
    activation_integers,
    find_exponent,
    find_shifts,
    latent_integers,
)
from tfc_models.entropy.parameters import Outputs
from tfc_models.layers import Chain, Conv2D, part_of, tiled

HYPER_LATENTS, LATENTS, KNOWN = "hyper-latents", "latents", "known"
SHIFTS = ("weights", "activations", "finer", "first")  # names that `find_shifts` numbers
DECODED_EXPONENT = "seen"  # name in stored states


class Input(NamedTuple):
    """Input of a network: hyper-latents, decoded latents, a mask of them, or another network.

    `channels` selects decoded latents.
    """

    source: str
    channels: slice = slice(None)


class Network(NamedTuple):
    """Convolutions with their inputs in the order of the first kernel's channels.

    Args:
        name: identifies the network, and its exponents in a stored state.
        chain: convolutions, with ReLU, leaky ReLU or nothing between them.
        inputs: what the first convolution reads.
        hidden: whether other networks read the output; otherwise it predicts parameters.
        first_input_finer: whether weights of the first input may have finer units than those
            of the others (see `tfc_models.entropy.exact`).
        windowed: whether its only layer, a masked convolution, is also evaluated on windows.
        stored_as: prefix of the layers' names in a stored state, if it is not the name.
    """

    name: str
    chain: Chain
    inputs: tuple[Input, ...]
    hidden: bool = False
    first_input_finer: bool = False
    windowed: bool = False
    stored_as: str | None = None

    @property
    def layers(self) -> list[Conv2D]:
        """The convolutions."""
        return self.chain.layers

    @property
    def prefix(self) -> str:
        """Prefix of the exponents in a stored state."""
        return f"{self.name}/" if self.name else ""


class Networks:
    """Evaluates networks, in floating point or exactly.

    Args:
        networks: in an order in which none reads a later one.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = {network.name: network for network in networks}
        self._exact: dict[str, ExactNetwork] = {}
        self._windows: dict[str, ExactNetwork] = {}
        self._decoded_exponent = np.zeros(0, np.int32)
        self._samples: dict[str, list[tf.Tensor]] | None = None
        self.dtype = tf.float32

    def __getitem__(self, name: str) -> Network:
        return self._networks[name]

    @property
    def chains(self) -> list[Chain]:
        """The convolutions of all networks."""
        return [network.chain for network in self._networks.values()]

    @property
    def names(self) -> list[str]:
        """Names of all networks."""
        return list(self._networks)

    @property
    def recording(self) -> bool:
        """Whether inputs are recorded (see `record`)."""
        return self._samples is not None

    @property
    def frozen(self) -> bool:
        """Whether evaluation is exact."""
        return bool(self._exact)

    @property
    def reads_latents(self) -> bool:
        """Whether any network reads decoded latents."""
        return any(i.source == LATENTS for n in self._networks.values() for i in n.inputs)

    @property
    def decoded_unit(self) -> np.ndarray:
        """Inverse units of the integers that decoded latents are rounded to."""
        return np.exp2(self._decoded_exponent.astype(np.float64))

    def evaluate(self, name: str, *maps: tf.Tensor) -> tf.Tensor:
        """Returns hidden activations of a network, which others read."""
        return self._evaluate(name, *maps)

    def predict(self, name: str, *maps: tf.Tensor) -> Outputs:
        """Returns outputs that parameters are made of."""
        values = self._evaluate(name, *maps)
        if self.frozen:
            exponent = self._exact[name].outputs_exponent
            return Outputs(values, np.exp2(-exponent.astype(np.float64)))
        return Outputs(tf.cast(values, tf.float32), None)

    def _evaluate(self, name: str, *maps: tf.Tensor) -> tf.Tensor:
        dtype = tf.float32 if self.frozen else self.dtype
        cast = [tf.cast(m, dtype) for m in maps]
        inputs = cast[0] if len(cast) == 1 else tf.concat(cast, -1)
        if self.frozen:
            values = self._exact[name](inputs)
            return tf.cast(values, tf.float32) if self[name].hidden else values
        if self._samples is not None:
            self._samples.setdefault(name, []).append(inputs)
        return self[name].chain(inputs)

    def tiled_features(self, name: str, z_hat: tf.Tensor, reduction: int, tile: int) -> tf.Tensor:
        """Returns features of hyper-latents, from tiles if exact: sizes may be forged."""
        if not self.frozen:
            return self.evaluate(name, z_hat)
        out = tf.TensorSpec([None, None, self[name].layers[-1].filters], tf.float32)
        return tiled(
            lambda z: self.evaluate(name, z), z_hat, 1, reduction, out, tile, self.halo(name)
        )

    def halo(self, name: str) -> int:
        """Returns the number of input samples that outputs reach beyond their own."""
        reach, scale = 0.0, 1
        for layer in self[name].layers:
            before = (layer.size - layer.up) // 2
            ahead = layer.size - 1 - before
            reach += max((before + layer.up - 1) // layer.up, ahead // layer.up) / scale
            scale *= layer.up
        return math.ceil(reach)

    def evaluate_windows(self, name: str, windows: tf.Tensor) -> tf.Tensor:
        """Returns outputs of a windowed network, given what is under the taps of its mask."""
        return tf.cast(self._windows[name](windows), tf.float32)

    # Calibration

    def record(self) -> None:
        """Records the inputs of all networks from now on, for `find_shifts`."""
        self._samples = {}

    def find_shifts(
        self, decoded: list[tf.Tensor], hyper_channels: int, weight_bits: int, activation_bits: int
    ) -> dict[str, np.ndarray]:
        """Returns exponents for all networks from what `record` saw, and stops recording.

        Args:
            decoded: decoded latents as networks read them.
            hyper_channels: number of channels of the hyper-latents.
            weight_bits: precision of the weights.
            activation_bits: precision of the activations.
        """
        samples, self._samples = self._samples or {}, None
        shifts: dict[str, np.ndarray] = {}
        if self.reads_latents:
            shifts[DECODED_EXPONENT] = find_exponent(decoded, activation_bits)
        outputs: dict[str, Integers] = {}
        for network in self._networks.values():
            inputs = self._integers(network, shifts, outputs, hyper_channels, activation_bits)
            first = len(inputs[0].exponent) if network.first_input_finer else 0
            found = find_shifts(
                network.layers,
                samples[network.name],
                _joined(inputs),
                first,
                weight_bits,
                activation_bits,
            )
            shifts.update({network.prefix + k: v for k, v in found.items()})
            last = found[f"activations{len(network.layers) - 1}"]
            outputs[network.name] = activation_integers(last, activation_bits)
        return shifts

    def _integers(
        self,
        network: Network,
        shifts: dict[str, np.ndarray],
        outputs: dict[str, Integers],
        hyper_channels: int,
        activation_bits: int,
    ) -> list[Integers]:
        """Returns the integers of each of a network's inputs."""
        integers = []
        for source, channels in network.inputs:
            if source == HYPER_LATENTS:
                integers.append(latent_integers(hyper_channels))
            elif source == LATENTS:
                exponent = shifts[DECODED_EXPONENT][channels]
                integers.append(activation_integers(exponent, activation_bits))
            elif source == KNOWN:
                integers.append(Integers(np.zeros(1, np.int32), np.ones(1)))
            else:
                integers.append(outputs[source])
        return integers

    def make_exact(
        self, shifts: dict[str, np.ndarray], hyper_channels: int, activation_bits: int
    ) -> None:
        """Makes evaluation exact, with exponents that `find_shifts` returned."""
        outputs: dict[str, Integers] = {}
        result = {}
        plain = {k: v for k, v in shifts.items() if "/" not in k}
        for network in self._networks.values():
            inputs = self._integers(network, shifts, outputs, hyper_channels, activation_bits)
            own = part_of(shifts, network.prefix) if network.prefix else plain
            own = {k: v for k, v in own.items() if k.rstrip("0123456789") in SHIFTS}
            result[network.name] = ExactNetwork(
                network.layers, own, _joined(inputs), activated=network.hidden, bits=activation_bits
            )
            outputs[network.name] = result[network.name].outputs
        self._decoded_exponent = shifts.get(DECODED_EXPONENT, self._decoded_exponent)
        self._exact = result
        self._windows = {
            name: result[name].over_taps(np.flatnonzero(network.layers[0].mask))
            for name, network in self._networks.items()
            if network.windowed
        }

    def shifts(self) -> dict[str, np.ndarray]:
        """Returns the exponents of exact networks."""
        shifts = {DECODED_EXPONENT: self._decoded_exponent} if self.reads_latents else {}
        for name, network in self._exact.items():
            shifts.update({self[name].prefix + k: v for k, v in network.shifts.items()})
        return shifts

    @property
    def pieces(self) -> list[int]:
        """Number of float32 convolutions that each exact layer takes."""
        return [count for network in self._exact.values() for count in network.pieces]

    def layers_by_name(self) -> dict[str, Conv2D]:
        """Returns the layers by their names in a stored state."""
        return {
            self._stored_name(name, layer): layer
            for name, network in self._networks.items()
            for layer in network.layers
        }

    def kernel_units(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Returns `ExactNetwork.units` by layer, for kernels that are integers times units."""
        return {
            self._stored_name(name, layer): units
            for name, exact in self._exact.items()
            for layer, units in zip(self[name].layers, exact.units)
            if units is not None
        }

    def integers(self) -> list[np.ndarray]:
        """Returns the integer kernels and biases of all exact networks."""
        return [array for exact in self._exact.values() for array in exact.integers()]

    def _stored_name(self, name: str, layer: Conv2D) -> str:
        stored_as = self[name].stored_as
        return f"{name if stored_as is None else stored_as}/{layer.name}"

    def replace_exact(self, wrap: Callable[[ExactNetwork], Any]) -> None:
        """Replaces every exact network by what `wrap` returns for it."""
        self._exact = {name: wrap(network) for name, network in self._exact.items()}
        self._windows = {name: wrap(network) for name, network in self._windows.items()}


def _joined(inputs: list[Integers]) -> Integers:
    first, *others = inputs
    for other in others:
        first = first.beside(other)
    return first
