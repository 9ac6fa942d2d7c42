"""Hyperpriors: a second latent tells the first one's scales, or its scales and means."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.entropy import exact, ordered
from tfc_models.entropy.exact import ExactNetwork, find_shifts
from tfc_models.entropy.factorized import Bits, FactorizedPrior
from tfc_models.entropy.normal_mass import log_box_mass
from tfc_models.entropy.quantization import Noise, checked_mode
from tfc_models.entropy.tables import FrozenTables
from tfc_models.layers import Chain, CompressionLayer, Conv2D, pad_to_multiple, tiled

DISTRIBUTIONS = {"gaussian": tfc.NoisyNormal, "laplace": tfc.NoisyLaplace}
SCALES = 64
SCALE_MIN, SCALE_MAX = 0.11, 256.0
# A network's output 0 is a scale near 1, and a step of 1 is eight entries of the table (a
# factor of 2.7): outputs and their gradients are then of order 1.
INDEX_STEP, INDEX_ORIGIN = 8.0, 18.0
# Means are multiples of 2^-6, which keeps latent = integer + mean exact in float32.
MEAN_BITS = 6
LARGEST_MEAN = 2.0**14
LARGEST_INDEX = 2.0**10  # beyond the table on either side, before a rate moves it
FINEST_PART, LARGEST_WITH_PARTS = 64, 16.0
REDUCTION = 4  # hyper_analysis divides height and width by it
ALL = slice(None)  # channels
# From the means of some channels to their latents as a decoder has them.
Quantized = Callable[..., tf.Tensor]
EXACT_TILE = 16  # hyper-latents a side, 1024 pixels


def scale_of(index: tf.Tensor) -> tf.Tensor:
    """Scales, log-spaced over the table; differentiable between its entries."""
    step = (math.log(SCALE_MAX) - math.log(SCALE_MIN)) / (SCALES - 1)
    return tf.exp(math.log(SCALE_MIN) + step * index)


def parts_of_scales() -> np.ndarray:
    """For every scale of the table, into how many parts tables at fractions divide a step.

    To round a fraction to a part costs in proportion to the square of part over scale, and with
    these less than a thousandth of the rate.
    """
    scales = np.geomspace(SCALE_MIN, SCALE_MAX, SCALES)
    parts = 2.0 ** np.ceil(np.log2(np.maximum(LARGEST_WITH_PARTS / scales, 1.0)))
    return np.minimum(parts, FINEST_PART).astype(np.int32)


class Told(NamedTuple):
    """What a decoder is told of latents before it reads them, and what it adds afterwards."""

    index: tf.Tensor
    mean: tf.Tensor | None
    correction: tf.Tensor | None = None

    def corrected(self, y_hat: tf.Tensor) -> tf.Tensor:
        """Latents that were read, with what is added to them."""
        return y_hat if self.correction is None else y_hat + self.correction


class ScaleHyperprior(FrozenTables, tfc.LocationScaleIndexedEntropyModel):
    """Zero-mean latents whose scales are predicted from hyper-latents.

    Ballé, Minnen, Singh, Hwang, Johnston, "Variational image compression with a scale
    hyperprior", ICLR 2018. `hyper_synthesis` emits scale indexes.

    After `freeze`, the hyper-synthesis runs in exact integer arithmetic (see
    `tfc_models.entropy.exact`), for the quantized forward pass as for coding.
    """

    parts = ("y", "z")
    predicts_means = False
    # Precision of the exact networks that `freeze` makes: more bits cost less rate, and time.
    weight_bits = exact.WEIGHT_BITS
    activation_bits = exact.ACTIVATION_BITS
    index_bits = 0  # behind the point, of what the exact network gives

    def __init__(
        self,
        hyper_analysis: Chain,
        hyper_synthesis: Chain,
        hyper_channels: int,
        distribution: str = "gaussian",
        quantization: str = "noise",
    ) -> None:
        if distribution not in DISTRIBUTIONS:
            choices = ", ".join(DISTRIBUTIONS)
            raise ValueError(f"distribution is one of {choices}; got {distribution!r}.")
        super().__init__(
            prior_fn=DISTRIBUTIONS[distribution],
            num_scales=SCALES,
            scale_fn=scale_of,
            coding_rank=3,
            bottleneck_dtype=tf.float32,
        )
        self.hyper_analysis = hyper_analysis
        self.hyper_synthesis = hyper_synthesis
        self.hyperprior = FactorizedPrior(hyper_channels, quantization)
        self.quantization = checked_mode(quantization)
        self.distribution, self.noise = distribution, Noise()
        self.network_dtype = tf.float32
        self.exact: ExactNetwork | None = None

    def learned_layers(self) -> list[CompressionLayer]:
        """Layers that hold every learned value."""
        return [self.hyper_analysis, self.hyper_synthesis, *self.hyperprior.learned_layers()]

    def anneal(self, fraction: float) -> None:
        """Sets what changes with the fraction of training that is done: nothing here."""

    def __call__(
        self, y: tf.Tensor, training: bool = False, rate: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, Bits]:
        """Quantizes (or perturbs) `y` and estimates the bits of each example, by part."""
        if training:
            self._require(frozen=False)
        z_hat, z_bits = self.hyperprior(self._hyper_latents(y, rate), training)
        noisy = None
        if training and self.quantization != "round":
            noisy = y + self.noise(tf.shape(y))
        told = self._parameters_for(y, noisy, z_hat, rate)
        index, mean = told.index, told.mean
        if not training:
            # What is coded is coded under an entry of the table.
            index = tf.clip_by_value(tf.round(index), 0, SCALES - 1)
            y_hat, y_bits = self._estimated(y, index, mean)
        else:
            y_hat = self._stand_in(y, noisy, mean)
            y_bits = self._noisy_bits(y, y_hat if noisy is None else noisy, index, mean)
        return told.corrected(y_hat), {"y": y_bits, "z": z_bits["y"]}

    def _estimated(
        self, y: tf.Tensor, index: tf.Tensor, mean: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Quantized latents, and what they cost under entries of the table."""
        return super().__call__(y, index, mean, training=False)

    def _stand_in(self, y: tf.Tensor, noisy: tf.Tensor | None, mean: tf.Tensor | None) -> tf.Tensor:
        """What a decoder will see of latents; in training perhaps with noise for rounding."""
        if noisy is not None and self.quantization == "noise":
            return noisy
        return self.quantize(y, mean)

    def _parameters_for(
        self,
        y: tf.Tensor,
        noisy: tf.Tensor | None,
        z_hat: tf.Tensor,
        rate: tf.Tensor | None,
    ) -> Told:
        """What a decoder will predict of `y`, where it has the latents to predict it from."""

        def quantized(mean: tf.Tensor | None, channels: slice = ALL) -> tf.Tensor:
            own = None if noisy is None else noisy[..., channels]
            return self._stand_in(y[..., channels], own, mean)

        return self.predict(quantized, tf.shape(y)[1:3], z_hat, rate)

    def predict(
        self, quantized: Quantized, shape: tf.Tensor, z_hat: tf.Tensor, rate: tf.Tensor | None
    ) -> Told:
        """Predicts latents of height and width `shape` from hyper-latents and decoded latents.

        Args:
            quantized: returns the decoded latents, given their means and a slice of channels;
                contexts read them.
            shape: height and width.
            z_hat: hyper-latents, integers.
            rate: of each example, where the model has more than one.
        """
        del quantized
        return Told(*self._parameters(z_hat, shape, rate))

    def symbols_of(self, y: tf.Tensor, mean: tf.Tensor | None) -> tf.Tensor:
        """Returns the integers that latents are coded as."""
        return tf.round(y if mean is None else y - mean)

    def from_symbols(self, symbols: tf.Tensor, mean: tf.Tensor | None) -> tf.Tensor:
        """Returns the latents that a decoder makes of integers, before any correction."""
        return symbols if mean is None else symbols + mean

    def symbol_bits(
        self, symbols: tf.Tensor, index: tf.Tensor, mean: tf.Tensor | None
    ) -> tf.Tensor:
        """Bits of every integer under its predicted distribution, differentiable."""
        del mean
        return self._element_bits(symbols, index)

    def decoding_groups(self, shape: tf.Tensor) -> list[tf.Tensor]:
        """Masks of the latents by decoding order: earlier groups help to predict later ones.

        Each mask broadcasts against examples × height × width × channels.
        """
        del shape
        return [tf.ones([1, 1, 1, 1])]

    def _noisy_bits(
        self, y: tf.Tensor, noisy: tf.Tensor, index: tf.Tensor, mean: tf.Tensor | None
    ) -> tf.Tensor:
        """Returns differentiable bits of each example."""
        del y
        centred = noisy if mean is None else noisy - mean
        return tf.reduce_sum(self._element_bits(centred, index), axis=(1, 2, 3))

    def _element_bits(self, centred: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """Returns differentiable bits of each value, given its difference from the mean."""
        index = tfc.lower_bound(tfc.upper_bound(index, SCALES - 1), 0)
        if self.distribution == "gaussian":
            # tfp's log_prob holds in the tails as well, and takes a third of a training step.
            nats = log_box_mass(centred, scale_of(index))
        else:
            nats = self._make_prior(index).log_prob(centred)
        return nats / -math.log(2.0)

    def hyper_latents(self, y: tf.Tensor, rate: tf.Tensor | None = None) -> tf.Tensor:
        """Returns hyper-latents, not quantized, of latents."""
        return self._hyper_latents(y, rate)

    def _hyper_latents(self, y: tf.Tensor, rate: tf.Tensor | None = None) -> tf.Tensor:
        del rate  # see GainedHyperprior
        y = y if self.predicts_means else tf.abs(y)
        y = pad_to_multiple(tf.cast(y, self.network_dtype), REDUCTION)
        return tf.cast(self.hyper_analysis(y), tf.float32)

    def _parameters(
        self, z_hat: tf.Tensor, shape: tf.Tensor, rate: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Scale indexes and means (None: zero) for latents of height and width `shape`."""
        index, mean = self._at_rate(*self._predicted(z_hat, shape), rate)
        return (index if self.exact is None else tf.clip_by_value(index, 0, SCALES - 1)), mean

    def _at_rate(
        self,
        index: tf.Tensor,
        mean: tf.Tensor | None,
        rate: tf.Tensor | None,
        channels: slice = ALL,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """What was predicted of some channels, as it is for a rate; here there is only one."""
        del rate, channels
        return index, mean

    def _predicted(self, z_hat: tf.Tensor, shape: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        if self.exact is None:
            outputs = tf.cast(self._outputs(tf.cast(z_hat, self.network_dtype)), tf.float32)
            outputs = outputs[:, : shape[0], : shape[1]]
            if self.predicts_means:
                index, mean = tf.split(outputs, 2, axis=-1)
            else:
                index, mean = outputs, None
            return index * INDEX_STEP + INDEX_ORIGIN, mean
        # In tiles, so that a picture of any size (or a forged size) takes little memory.
        channels = sum(layer.filters for layer in self.heads)
        out = tf.TensorSpec([None, None, channels], tf.float32)
        outputs = tiled(self._exact_parameters, z_hat, 1, REDUCTION, out, EXACT_TILE)
        outputs = outputs[:, : shape[0], : shape[1]]
        if not self.predicts_means:
            return outputs, None
        return tuple(tf.split(outputs, 2, axis=-1))

    def _outputs(self, z_hat: tf.Tensor) -> tf.Tensor:
        """What the network gives before it is exact."""
        return self.hyper_synthesis(z_hat)

    def _exact_parameters(self, z_hat: tf.Tensor) -> tf.Tensor:
        return self._from_sums(self.exact(z_hat), self.exact)

    def _from_sums(self, sums: tf.Tensor, network: ExactNetwork) -> tf.Tensor:
        """Scale indexes and, behind them, means, of an exact network's sums: float32."""
        unit = np.exp2(-network.outputs_exponent.astype(np.float64))
        if not self.predicts_means:
            return self._exact_index(sums, unit)
        index, mean = tf.split(sums, 2, axis=-1)
        index_unit, mean_unit = np.split(unit, 2)
        index, mean = self._exact_index(index, index_unit), self._exact_mean(mean, mean_unit)
        return tf.concat([index, mean], axis=-1)

    def _exact_mean(self, sums: tf.Tensor, unit: np.ndarray) -> tf.Tensor:
        mean = tf.round(sums * tf.constant(unit * 2**MEAN_BITS, sums.dtype))
        mean = tf.cast(mean * 2.0**-MEAN_BITS, tf.float32)
        return tf.clip_by_value(mean, -LARGEST_MEAN, LARGEST_MEAN)

    def _exact_index(self, sums: tf.Tensor, unit: np.ndarray) -> tf.Tensor:
        scale = tf.constant(unit * INDEX_STEP * 2.0**self.index_bits, sums.dtype)
        index = tf.round(sums * scale) * 2.0**-self.index_bits + INDEX_ORIGIN
        return tf.cast(tf.clip_by_value(index, -LARGEST_INDEX, LARGEST_INDEX), tf.float32)

    def freeze(
        self,
        state: dict[str, Any] | None = None,
        y: tf.Tensor | None = None,
        representative: bool = True,
        rate: tf.Tensor | None = None,
    ) -> None:
        """Builds tables and integers from what was learned, or takes stored ones.

        Args:
            state: stored tables and exponents.
            y: without `state`, latents of some pictures, which set the activations' ranges.
            representative: whether these pictures show what to expect; otherwise random
                hyper-latents, drawn from the tables, widen the ranges.
            rate: of each example of `y`, where the model has more than one.
        """
        if self.frozen:
            return
        hyper = state and {k[6:]: v for k, v in state.items() if k.startswith("hyper/")}
        self.hyperprior.freeze(hyper)
        if state is None:
            if y is None:
                raise ValueError("freeze() needs latents of some pictures, or a stored state.")
            shifts = self._find_shifts(y, rate, representative)
        else:
            shifts = {k[6:]: v for k, v in state.items() if k.startswith("exact/")}
            self.activation_bits = int(shifts.pop("activation_bits", exact.ACTIVATION_BITS))
        self._make_exact(shifts)
        self._freeze_tables(state)
        self._freeze_rates(state)
        self.hyper_analysis.freeze()

    def _find_shifts(
        self, y: tf.Tensor, rate: tf.Tensor | None, representative: bool
    ) -> dict[str, np.ndarray]:
        """Exponents for the exact networks, by name."""
        samples = self._hyper_samples(y, rate, representative)
        return self._shifts_of(self.hyper_synthesis.layers, samples)

    def _shifts_of(self, layers: list[Conv2D], *arguments: Any) -> dict[str, np.ndarray]:
        """Returns `find_shifts` at this coder's precision."""
        bits = {"weight_bits": self.weight_bits, "activation_bits": self.activation_bits}
        return find_shifts(layers, *arguments, **bits)

    def _exact_of(
        self, layers: list[Conv2D], shifts: dict[str, np.ndarray], *arguments: Any, **options: Any
    ) -> ExactNetwork:
        """Returns an exact network of this coder's precision."""
        return ExactNetwork(layers, shifts, *arguments, **options, bits=self.activation_bits)

    def _hyper_samples(
        self, y: tf.Tensor, rate: tf.Tensor | None, representative: bool
    ) -> list[tf.Tensor]:
        samples = [tf.round(self._hyper_latents(y, rate))]
        return samples if representative else [*samples, self.hyperprior.random_latents()]

    def _make_exact(self, shifts: dict[str, np.ndarray]) -> None:
        self.exact = self._exact_of(self.hyper_synthesis.layers, shifts)

    def _freeze_rates(self, state: dict[str, Any] | None) -> None:
        """Makes what a rate changes exact, or takes what is stored; here there is only one."""

    def _table_prior(self) -> Any:
        return self._make_prior(tf.range(SCALES))

    def compress(self, y: tf.Tensor, rate: tf.Tensor | None = None) -> tuple[tf.Tensor, ...]:
        """Strings of the hyper-latents and of the latents, one of each for each example."""
        return self.encode(y, rate)[0]

    def encode(
        self, y: tf.Tensor, rate: tf.Tensor | None = None
    ) -> tuple[tuple[tf.Tensor, ...], tf.Tensor]:
        """`compress(y, rate)`, and what `decompress` will give."""
        self._require(frozen=True)
        z = self._hyper_latents(y, rate)
        told = self._parameters_for(y, None, tf.round(z), rate)
        (z_strings,) = self.hyperprior.compress(z)
        strings = self._encoded(self.symbols_of(y, told.mean), told.index, told.mean)
        return (z_strings, *strings), told.corrected(self.quantize(y, told.mean))

    def encode_symbols(
        self, symbols: tf.Tensor, z: tf.Tensor, rate: tf.Tensor | None = None
    ) -> tuple[tuple[tf.Tensor, ...], tf.Tensor]:
        """Returns the strings of chosen integers, and what `decompress` will give.

        Args:
            symbols: integers of the latents (see `symbols_of`).
            z: integers of the hyper-latents.
            rate: of each example, where the model has more than one.
        """
        self._require(frozen=True)

        def quantized(mean: tf.Tensor | None, channels: slice = ALL) -> tf.Tensor:
            return self.from_symbols(symbols[..., channels], mean)

        told = self.predict(quantized, tf.shape(symbols)[1:3], z, rate)
        (z_strings,) = self.hyperprior.compress(z)
        strings = self._encoded(symbols, told.index, told.mean)
        return (z_strings, *strings), told.corrected(self.from_symbols(symbols, told.mean))

    def _encoded(
        self, symbols: tf.Tensor, index: tf.Tensor, mean: tf.Tensor | None
    ) -> tuple[tf.Tensor, ...]:
        """Strings of the latents' integers."""
        del mean
        return (ordered.encode(self, symbols, index),)

    def decompress(
        self,
        strings: tuple[tf.Tensor, ...],
        shape: tf.Tensor,
        rate: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The latents from their strings; `shape` is their height and width."""
        self._require(frozen=True)
        z_strings, *own = strings
        shape = tf.convert_to_tensor(shape, tf.int32)
        z_hat = self.hyperprior.decompress((z_strings,), -(-shape // REDUCTION))
        # Garbage of a forged size is told here, before the latents, a hundred times as large.
        (canonical,) = self.hyperprior.compress(z_hat)
        same = tf.reduce_all(tf.equal(canonical, z_strings))
        check = tf.debugging.Assert(same, ["tfc-models: damaged: a stream does not fit its size"])
        with tf.control_dependencies([check]):
            z_hat = tf.identity(z_hat)
        return self._decoded(own, z_hat, shape, rate)

    def _decoded(
        self, own: list[tf.Tensor], z_hat: tf.Tensor, shape: tf.Tensor, rate: tf.Tensor | None
    ) -> tf.Tensor:
        """The latents from their strings and hyper-latents."""
        (strings,) = own
        index, mean = self._parameters(z_hat, shape, rate)
        decoder = ordered.Decoder(self, strings, tf.reduce_prod(tf.shape(index)[1:]))
        _, residuals = decoder.read(None, index)
        return residuals if mean is None else residuals + mean

    @property
    def heads(self) -> list[Conv2D]:
        """The layers that give indexes, means, and what else there is."""
        return self.hyper_synthesis.layers[-1:]

    @property
    def pieces(self) -> list[int]:
        """How many float32 convolutions stand for each exact layer."""
        return self.exact.pieces

    def start_scales(self, index: np.ndarray) -> None:
        """Makes the networks predict nearly these scale indexes, one per latent channel.

        Training starts there: a latent far outside of the predicted scale costs thousands of
        bits.
        """
        first = 0
        for layer in self.scale_heads:
            state = {k: np.array(v) for k, v in layer.state().items()}
            count = min(len(state["bias"]), len(index) - first)
            state["bias"][:count] = (index[first : first + count] - INDEX_ORIGIN) / INDEX_STEP
            layer.assign_state({**state, "kernel": 0.1 * state["kernel"]})
            first += count

    @property
    def scale_heads(self) -> list[Conv2D]:
        """The layers that give scale indexes, in order of the latents."""
        return self.heads[:1]

    def float_layers(self) -> dict[str, Conv2D]:
        """The hyper networks' layers by name."""
        networks = {"analysis": self.hyper_analysis, "synthesis": self.hyper_synthesis}
        return {f"{n}/{la.name}": la for n, net in networks.items() for la in net.layers}

    def state(self) -> dict[str, Any]:
        """Everything learned, as plain values, and what freezing made."""
        state = {f"hyper/{k}": v for k, v in self.hyperprior.state().items()}
        if self.frozen:
            state.update(self._tables())
            state.update({f"exact/{k}": v for k, v in self._shifts().items()})
            if self.activation_bits != exact.ACTIVATION_BITS:
                state["exact/activation_bits"] = np.array(self.activation_bits, np.int32)
        return state

    def _shifts(self) -> dict[str, np.ndarray]:
        return self.exact.shifts

    def assign_state(self, state: dict[str, Any]) -> None:
        """Takes the learned values that `state` gave."""
        self.hyperprior.assign_state({k[6:]: v for k, v in state.items() if k.startswith("hyper/")})


class MeanScaleHyperprior(ScaleHyperprior):
    """Latents whose scales and means are predicted from hyper-latents.

    The hyperprior of Minnen, Ballé, Toderici, "Joint Autoregressive and Hierarchical Priors
    for Learned Image Compression", NeurIPS 2018, without its context model.
    `hyper_synthesis` emits scale indexes in its first half of channels, means in the second.
    """

    predicts_means = True
