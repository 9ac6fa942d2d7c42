"""Entropy coder of latents with a hyperprior, composed of exchangeable parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.entropy import exact, range_coding
from tfc_models.entropy.factorized import Bits, FactorizedPrior
from tfc_models.entropy.normalized import NormalizedRounding, Steps
from tfc_models.entropy.order import Group
from tfc_models.entropy.parameters import (
    SCALES,
    EntropyParameters,
    scale_of,
)
from tfc_models.entropy.prediction import REDUCTION, HyperPrediction
from tfc_models.entropy.quantization import Noise, Rounding
from tfc_models.entropy.rates import FixedRate, Gains
from tfc_models.entropy.tables import FrozenTables
from tfc_models.layers import Chain, CompressionLayer, Conv2D, pad_to_multiple, part_of

Quantized = Callable[[EntropyParameters, slice], tf.Tensor]
"""Decoded latents of a slice of channels, given their parameters."""


class LatentCoder(FrozenTables, tfc.LocationScaleIndexedEntropyModel):
    """Codes latents under distributions that are predicted from hyper-latents and decoded latents.

    Ballé, Minnen, Singh, Hwang, Johnston, "Variational image compression with a scale
    hyperprior" (ICLR 2018)::

        y ─ hyper-analysis ─ z ─ rounded, coded under a factorized prior
        z, decoded latents ─ prediction ─ σ, μ ─ rates ─ σ, μ at the rate of the example
        y ─ quantization ─ integers ─ coded under σ, μ in the order of the prediction

    After `freeze`, all networks of the prediction run in exact integer arithmetic (see
    `tfc_models.entropy.exact`), so that every machine decodes the same latents.

    Args:
        hyper_analysis: from latents to hyper-latents, a quarter of their height and width.
        hyper_channels: number of channels of the hyper-latents.
        prediction: parameters of the distributions, and the decoding order.
        quantization: from latents to integers, and their coding tables.
        rates: adaptation to the rate of each example; None: one rate.
    """

    # Precision of the exact networks. More bits lower the rate and slow decoding down.
    weight_bits = exact.WEIGHT_BITS
    activation_bits = exact.ACTIVATION_BITS

    def __init__(
        self,
        hyper_analysis: Chain,
        hyper_channels: int,
        prediction: HyperPrediction,
        quantization: Rounding | None = None,
        rates: FixedRate | None = None,
    ) -> None:
        quantization = quantization or Rounding()
        super().__init__(
            prior_fn=quantization.prior,
            num_scales=SCALES,
            scale_fn=scale_of,
            coding_rank=3,
            bottleneck_dtype=tf.float32,
        )
        self.hyper_analysis, self.prediction = hyper_analysis, prediction
        self.quantization, self.rates = quantization, rates or FixedRate()
        self.hyperprior = FactorizedPrior(hyper_channels, quantization.mode)
        self.noise = Noise()
        prediction.rates = self.rates
        _check(prediction, quantization, self.rates, hyper_analysis)
        self.streams = ("y", "z", *quantization.side_streams)
        self.network_dtype = tf.float32

    @property
    def network_dtype(self) -> tf.DType:
        """Dtype of the networks before freezing."""
        return self.prediction.networks.dtype

    @network_dtype.setter
    def network_dtype(self, dtype: tf.DType) -> None:
        self.prediction.networks.dtype = dtype

    def trainable_layers(self) -> list[CompressionLayer]:
        """Returns the layers that hold variables."""
        main, *others = self.prediction.networks.chains
        return [
            *(self.hyper_analysis, main),
            *self.hyperprior.trainable_layers(),
            *self.rates.trainable_layers(),
            *others,
            *self.quantization.trainable_layers(),
        ]

    def anneal(self, fraction: float) -> None:
        """Sets values that depend on the completed fraction of training."""
        self.quantization.anneal(fraction)

    # Estimates

    def __call__(
        self, y: tf.Tensor, training: bool = False, rate: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, Bits]:
        """Quantizes (or perturbs) `y` and estimates the bits of each example, by part."""
        if training:
            self._require(frozen=False)
        z_hat, z_bits = self.hyperprior(self.hyper_latents(y, rate), training)
        noisy = None
        if training and self.quantization.mode != "round":
            noisy = y + self.noise(tf.shape(y))
        params = self.parameters_for(y, z_hat, rate, noisy)
        if not training:
            # Integers are coded under an entry of the table.
            index = tf.clip_by_value(tf.round(params.index), 0, self.rates.indexes - 1)
            params = params._replace(index=index)
        y_hat = self.quantization.synthesis_input(y, noisy, params)
        if training:
            perturbed = y_hat if noisy is None else noisy
            y_bits = self.quantization.noisy_bits(y, perturbed, params)
        else:
            y_bits = self.quantization.estimated_bits(y, params)
        side = {k: tf.fill([tf.shape(y)[0]], v) for k, v in self.quantization.side_bits().items()}
        return params.corrected(y_hat), {"y": y_bits, "z": z_bits["y"], **side}

    def parameters_for(
        self,
        y: tf.Tensor,
        z_hat: tf.Tensor,
        rate: tf.Tensor | None = None,
        noisy: tf.Tensor | None = None,
    ) -> EntropyParameters:
        """Returns the predicted parameters of latents, and their dither.

        Args:
            y: latents, not quantized.
            z_hat: hyper-latents, integers.
            rate: of each example, for models of many rates.
            noisy: latents with noise, used in place of decoded ones in training.
        """

        def quantized(params: EntropyParameters, channels: slice) -> tf.Tensor:
            noise = None if noisy is None else noisy[..., channels]
            return self.quantization.synthesis_input(y[..., channels], noise, params)

        dither = self.dither_of(y) if noisy is None else None
        return self.predict(quantized, tf.shape(y)[1:3], z_hat, rate, dither)

    def predict(
        self,
        quantized: Quantized,
        shape: tf.Tensor,
        z_hat: tf.Tensor,
        rate: tf.Tensor | None,
        dither: tf.Tensor | None = None,
    ) -> EntropyParameters:
        """Returns the predicted parameters of latents, and their dither.

        Args:
            quantized: returns the decoded latents of a slice of channels, given their parameters;
                contexts read them.
            shape: height and width.
            z_hat: hyper-latents, integers.
            rate: of each example, for models of many rates.
            dither: levels of the dither; None: no dither.
        """
        features = self.prediction.features(z_hat, shape)
        latents = KnownLatents(quantized, dither)
        return self.prediction.visit(features, shape, rate, latents)[0].with_dither(dither)

    def hyper_latents(self, y: tf.Tensor, rate: tf.Tensor | None = None) -> tf.Tensor:
        """Returns hyper-latents, not quantized."""
        y = tf.abs(y) if self.prediction.zero_mean else y
        y = pad_to_multiple(tf.cast(y, self.network_dtype), REDUCTION)
        z = tf.cast(self.hyper_analysis(y), tf.float32)
        return self.rates.scale_hyper_latents(z, rate)

    dither: tf.Tensor | None = None
    """Dither for parts of an image; None: that of whole images."""

    def dither_of(self, y: tf.Tensor) -> tf.Tensor | None:
        """Returns the dither of latents; None without dither."""
        if self.dither is not None:
            return self.dither
        latents = [self.prediction.latents]
        return self.quantization.dither_for(tf.concat([tf.shape(y)[:3], latents], 0))

    def symbols_of(self, y: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """Returns the integers that latents are coded as."""
        return self.quantization.symbols_of(y, params)

    def from_symbols(self, symbols: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """Returns the latents that a decoder makes of integers, before any correction."""
        return self.quantization.from_symbols(symbols, params)

    def symbol_bits(self, symbols: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """Returns differentiable bits of each integer under its predicted distribution."""
        return self.quantization.symbol_bits(symbols, params)

    def decoding_groups(self, shape: tf.Tensor) -> list[tf.Tensor]:
        """Returns masks of the latents by decoding order: earlier groups may predict later ones.

        Each mask broadcasts against examples × height × width × channels.
        """
        groups = self.prediction.groups(shape)
        number = tf.range(self.prediction.latents)
        masks = []
        for group in groups:
            start, stop, _ = group.channels.indices(self.prediction.latents)
            inside = tf.cast((number >= start) & (number < stop), tf.float32)[None, None, None]
            masks.append(inside if group.mask is None else inside * group.mask)
        return masks

    # Coding

    def compress(self, y: tf.Tensor, rate: tf.Tensor | None = None) -> tuple[tf.Tensor, ...]:
        """Returns strings by part, hyper-latents first, one string per example each."""
        return self.encode(y, rate)[0]

    def encode(
        self, y: tf.Tensor, rate: tf.Tensor | None = None
    ) -> tuple[tuple[tf.Tensor, ...], tf.Tensor]:
        """Returns the strings of latents, and the latents that `decompress` will return."""
        self._require(frozen=True)
        z = self.hyper_latents(y, rate)
        params = self.parameters_for(y, tf.round(z), rate)
        return self._encoded(self.symbols_of(y, params), z, params)

    def encode_symbols(
        self, symbols: tf.Tensor, z: tf.Tensor, rate: tf.Tensor | None = None
    ) -> tuple[tuple[tf.Tensor, ...], tf.Tensor]:
        """Returns the strings of chosen integers, and the latents that `decompress` will return.

        Args:
            symbols: integers of the latents.
            z: integers of the hyper-latents.
            rate: of each example, for models of many rates.
        """
        self._require(frozen=True)

        def quantized(params: EntropyParameters, channels: slice) -> tf.Tensor:
            return self.from_symbols(symbols[..., channels], params)

        dither = self.dither_of(symbols)
        params = self.predict(quantized, tf.shape(symbols)[1:3], z, rate, dither)
        return self._encoded(symbols, z, params)

    def _encoded(
        self, symbols: tf.Tensor, z: tf.Tensor, params: EntropyParameters
    ) -> tuple[tuple[tf.Tensor, ...], tf.Tensor]:
        groups = self.prediction.groups(tf.shape(symbols)[1:3])
        string = self.quantization.encode(self, symbols, params, groups)
        side = self.quantization.side_strings(tf.shape(symbols))
        y_hat = self.from_symbols(symbols, params)
        return (*self.hyperprior.compress(z), string, *side), params.corrected(y_hat)

    def decompress(
        self,
        strings: tuple[tf.Tensor, ...],
        shape: tf.Tensor,
        rate: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns the latents, of height and width `shape`, that strings hold."""
        self._require(frozen=True)
        z_string, y_string, *side = strings
        shape = tf.convert_to_tensor(shape, tf.int32)
        z_hat = self.hyperprior.decompress((z_string,), -(-shape // REDUCTION))
        # Rejects forged sizes before latents are allocated, 100 times larger than hyper-latents.
        (canonical,) = self.hyperprior.compress(z_hat)
        same = tf.reduce_all(tf.equal(canonical, z_string))
        check = tf.debugging.Assert(same, ["tfc-models: damaged: a stream does not fit its size"])
        with tf.control_dependencies([check]):
            z_hat = tf.identity(z_hat)
        features = self.prediction.features(z_hat, shape)
        full = tf.concat([tf.shape(z_hat)[:1], shape, [self.prediction.latents]], 0)
        dither = self.quantization.read_dither(tuple(side), full)
        latents = StoredLatents(self, y_string, shape, dither)
        return self.prediction.visit(features, shape, rate, latents)[1]

    # Freezing

    def freeze(
        self,
        state: dict[str, Any] | None = None,
        y: tf.Tensor | None = None,
        representative: bool = True,
        rate: tf.Tensor | None = None,
    ) -> None:
        """Makes coding tables and exact networks from learned values, or takes stored ones.

        Args:
            state: stored tables and exponents.
            y: without `state`, latents of some images, which set the activations' ranges.
            representative: whether the images are typical; if not, random hyper-latents, drawn
                from the tables, widen the ranges.
            rate: of each example of `y`, for models of many rates.
        """
        if self.frozen:
            return
        self.hyperprior.freeze(state and part_of(state, "hyper/"))
        if state is None:
            if y is None:
                raise ValueError("freeze() needs latents of some images, or a stored state.")
            shifts = self._find_shifts(y, rate, representative)
            self.prediction.freeze_tables(None)
        else:
            shifts = part_of(state, "exact/")
            self.activation_bits = int(shifts.pop("activation_bits", exact.ACTIVATION_BITS))
            self.prediction.freeze_tables(shifts)
        networks = self.prediction.networks
        networks.make_exact(shifts, self.hyperprior.channels, self.activation_bits)
        self._freeze_tables(state)
        self.rates.freeze(state, invertible=networks.reads_latents)
        self.quantization.freeze(state)
        self.hyper_analysis.freeze()

    def _find_shifts(
        self, y: tf.Tensor, rate: tf.Tensor | None, representative: bool
    ) -> dict[str, np.ndarray]:
        """Returns exponents for the exact networks, by name."""
        self.prediction.networks.record()
        self.parameters_for(y, tf.round(self.hyper_latents(y, rate)), rate)
        decoded = self.prediction.decoded_samples()
        if not representative:
            z = self.hyperprior.random_latents()
            self.prediction.features(z, REDUCTION * tf.shape(z)[1:3])
        return self.prediction.networks.find_shifts(
            decoded, self.hyperprior.channels, self.weight_bits, self.activation_bits
        )

    def _given_tables(self) -> tuple[np.ndarray, np.ndarray] | None:
        return self.quantization.tables()

    def _table_prior(self) -> Any:
        return self.quantization.table_prior()

    def _table_offset(self) -> np.ndarray | None:
        return self.quantization.table_offset()

    # State

    @property
    def pieces(self) -> list[int]:
        """Number of float32 convolutions that each exact layer takes."""
        return self.prediction.networks.pieces

    def context_inputs(self) -> list[tuple[Conv2D, int]]:
        """Returns the layers that read a context, with the number of their last such inputs."""
        return self.prediction.context_inputs()

    def start_scales(self, index: np.ndarray) -> None:
        """Makes the networks predict nearly these scale indexes, one per latent channel.

        Training starts there: a latent far outside of the predicted scale costs thousands of
        bits.
        """
        self.prediction.start_scales(index)

    def layers_by_name(self) -> dict[str, Conv2D]:
        """Returns the layers of all networks by their names in a stored state."""
        analysis = {f"analysis/{layer.name}": layer for layer in self.hyper_analysis.layers}
        return {**analysis, **self.prediction.networks.layers_by_name()}

    def state(self) -> dict[str, Any]:
        """Returns the learned values by name, and tables and integers once frozen."""
        state = {f"hyper/{k}": v for k, v in self.hyperprior.state().items()}
        if self.frozen:
            shifts = {**self.prediction.networks.shifts(), **self.prediction.tables()}
            state.update(self._tables())
            state.update({f"exact/{k}": v for k, v in shifts.items()})
            if self.activation_bits != exact.ACTIVATION_BITS:
                state["exact/activation_bits"] = np.array(self.activation_bits, np.int32)
        return {**state, **self.rates.state(), **self.quantization.state()}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the learned values that `state` returned."""
        self.hyperprior.assign_state(part_of(state, "hyper/"))
        self.rates.assign_state(state)


class KnownLatents:
    """Latents of an encoder, or noisy latents in training."""

    from_strings = False

    def __init__(self, quantized: Quantized, dither: tf.Tensor | None) -> None:
        self._quantized, self._dither = quantized, dither

    def __call__(self, group: Group, params: EntropyParameters) -> tf.Tensor:
        """Returns maps of a group's latents, given their parameters; zeros elsewhere."""
        params = params.with_dither(self._dither, group.channels)
        y_hat = self._quantized(params, group.channels)
        return y_hat if group.mask is None else y_hat * group.mask


class StoredLatents:
    """Latents that are read from strings, group by group.

    Args:
        coder: coder whose tables they were coded under.
        strings: one string per example.
        shape: height and width of the latents.
        dither: levels of the dither of all latents; None: no dither.
    """

    from_strings = True

    def __init__(
        self,
        coder: LatentCoder,
        strings: tf.Tensor,
        shape: tf.Tensor,
        dither: tf.Tensor | None,
    ) -> None:
        self._quantization, self._shape, self._dither = coder.quantization, shape, dither
        count = tf.reduce_prod(shape) * coder.prediction.latents
        count *= coder.quantization.max_reads_per_symbol
        self._decoder = range_coding.Decoder(coder, strings, count)
        self.state: range_coding.State | None = None

    def started(self, after: tf.Tensor) -> range_coding.State:
        """Returns the state of the range decoder, started after a tensor is computed."""
        return self._decoder.start(after) if self.state is None else self.state

    def read(
        self, state: range_coding.State | None, params: EntropyParameters
    ) -> tuple[range_coding.State, tf.Tensor]:
        """Returns the next latents, given their parameters, and the new state."""
        state, symbols = self._quantization.read(self._decoder, state, params)
        return state, self._quantization.from_symbols(symbols, params)

    def __call__(self, group: Group, params: EntropyParameters) -> tf.Tensor:
        """Returns maps of a group's latents, given their parameters; zeros elsewhere."""
        params = params.with_dither(self._dither, group.channels)
        rows = (None if maps is None else group.take(maps) for maps in params)
        self.state, y_hat = self.read(self.state, EntropyParameters(*rows))
        return group.put(y_hat, self._shape)


def _check(
    prediction: HyperPrediction, quantization: Rounding, rates: FixedRate, hyper_analysis: Chain
) -> None:
    """Raises ValueError for parts that do not work together."""
    if prediction.sequential and quantization.around_means:
        raise ValueError("a raster order needs Rounding(around_means=False).")
    if prediction.components != quantization.components:
        raise ValueError(
            f"the prediction has mixtures of {prediction.components}, the quantization of "
            f"{quantization.components}."
        )
    if quantization.components > 1 and isinstance(rates, Gains):
        raise ValueError("mixtures have one rate: they take no gains.")
    if prediction.zero_mean and not (quantization.zero_mean and rates.zero_mean):
        raise ValueError("this quantization or rate adaptation needs a prediction with means.")
    if isinstance(rates, Gains) and rates.mean_gain.filters != prediction.latents:
        raise ValueError(
            f"gains are for {rates.mean_gain.filters} latents; the prediction has "
            f"{prediction.latents}."
        )
    if isinstance(quantization, NormalizedRounding) != isinstance(rates, Steps):
        raise ValueError("NormalizedRounding and Steps need each other.")
    reduction = math.prod(getattr(layer, "down", 1) for layer in hyper_analysis.layers)
    if reduction != REDUCTION:
        raise ValueError(
            f"a hyper-analysis divides height and width by {REDUCTION}; this one by {reduction}."
        )
