"""Latents normalized by their predicted means and scales, coded under one fixed distribution.

Kirmemis, Tekalp, "Shrinkage as Activation for Learned Image Compression" (ICIP 2020)::

    y_norm = (y − μ) / σ,    q = round(y_norm / Δ),    ŷ = σ · Δ · q + μ

The integers q are coded under a Laplacian of unit variance, whatever σ is. The step Δ is selected
when an image is encoded, without training again. `NormalizedRounding`, `Steps` and
`MagnitudePrediction` belong together.

The index of a latent numbers both parameters of its quantization: σ by the scale index, an entry
of the table of scales, and Δ by its place in `STEPS`: index = scale index + SCALES · place.

Exact arithmetic: σ is an entry of the table. Products σ · Δ are tabulated with 8 significant bits,
and q has 16 bits, so that their product is exact in float32. The sum with μ is one IEEE operation.
The result is rounded to a multiple of 2^-6.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models.entropy.parameters import (
    ALL_CHANNELS,
    MEAN_BITS,
    SCALE_MAX,
    SCALE_MIN,
    SCALES,
    EntropyParameters,
    Outputs,
    mean_of,
    scale_of,
)
from tfc_models.entropy.prediction import HyperPrediction
from tfc_models.entropy.quantization import Rounding
from tfc_models.entropy.rates import FixedRate
from tfc_models.layers import rate_of_each
from tfc_models.layers.gain import LARGEST_RATE

STEPS = (2.0, 3.0 / 2.0, 1.0, 2.0 / 3.0, 1.0 / 2.0)
"""Steps Δ from the lowest rate to the highest. Training uses the third."""

UNIT_VARIANCE = math.sqrt(0.5)  # scale b of a Laplacian of unit variance
LARGEST_SYMBOL = 2.0**15
STEP_BITS = 8  # significant bits of an exact σ · Δ
STEP_UNIT_BITS = 12  # An exact σ · Δ is a multiple of 2^-12
THRESHOLD_BITS = 12  # and a threshold between two scales likewise.
THRESHOLDS = "magnitudes"  # name in stored states


def place_of_rate(rate: tf.Tensor) -> tf.Tensor:
    """Returns places in `STEPS` for rates of 0 to 100, as floats.

    The rates 0, 25, 50, 75 and 100 have one step each, and other rates that of the nearest.
    """
    places = len(STEPS) - 1
    return tf.clip_by_value(tf.round(rate * (places / LARGEST_RATE)), 0.0, places)


def step_at(rate: tf.Tensor) -> tf.Tensor:
    """Returns the step Δ at rates of 0 to 100."""
    return tf.gather(tf.constant(STEPS), tf.cast(place_of_rate(rate), tf.int32))


class Steps(FixedRate):
    """A quantization step Δ for each rate; predicted parameters are the same at all rates."""

    zero_mean = False
    indexes = SCALES * len(STEPS)

    def adapt(
        self,
        index: tf.Tensor,
        mean: tf.Tensor | None,
        rate: tf.Tensor | None,
        channels: slice = ALL_CHANNELS,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """See the base class."""
        place = place_of_rate(rate_of_each(index, rate))[:, None, None, None]
        return tfc.lower_bound(tfc.upper_bound(index, SCALES - 1), 0) + SCALES * place, mean


class MagnitudePrediction(HyperPrediction):
    """Means, and scales that are magnitudes of a network's outputs, σ = |h|.

    Scales are limited to the range of the table, so that σ is never zero. After freezing, the
    magnitude is an integer, and its scale index is the number of thresholds below it. Thresholds
    are halfway between the logarithms of neighboring scales.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._thresholds = np.zeros(0, np.int32)

    def _outputs_of(self, z_hat: tf.Tensor) -> tf.Tensor:
        scale, mean = self.networks.predict("", z_hat).split()
        return tf.concat([self._index_of(scale), mean_of(mean)], -1)

    def _index_of(self, outputs: Outputs) -> tf.Tensor:
        values, unit = outputs
        if unit is None:
            magnitude = tfc.lower_bound(tf.abs(values), SCALE_MIN)
            position = tf.math.log(magnitude / SCALE_MIN) / math.log(SCALE_MAX / SCALE_MIN)
            return (SCALES - 1) * position
        # Products with a power of two are exact.
        scaled = tf.abs(tf.cast(values, tf.float64)) * (unit * 2.0**THRESHOLD_BITS)
        thresholds = tf.constant(self._thresholds, tf.float64)
        index = tf.searchsorted(thresholds, tf.reshape(scaled, [-1]), side="right")
        return tf.cast(tf.reshape(index, tf.shape(values)), tf.float32)

    def start_scales(self, index: np.ndarray) -> None:
        """Makes the network predict the cheapest scales for mean magnitudes of latents.

        A latent costs about √2 · log2(e) · m / σ bits, where m is its mean magnitude, and its
        error is σ²/12. `linear_start` scales latents so that an error of 1/12 is worth as much as
        it is at a step of 1, which makes σ = (√2 · m)^(1/3) the cheapest.
        """
        magnitude = scale_of(tf.constant(index, tf.float32)).numpy()
        (head,) = self.heads
        state = {k: np.array(v) for k, v in head.state().items()}
        state["bias"][: len(index)] = np.cbrt(math.sqrt(2.0) * magnitude)
        head.assign_state({**state, "kernel": 0.1 * state["kernel"]})

    def freeze_tables(self, state: dict[str, np.ndarray] | None) -> None:
        """See the base class."""
        if state is not None:
            self._thresholds = state[THRESHOLDS]
            return
        halfway = scale_of(tf.range(SCALES - 1, dtype=tf.float64) + 0.5).numpy()
        self._thresholds = np.rint(2.0**THRESHOLD_BITS * halfway).astype(np.int32)

    def tables(self) -> dict[str, np.ndarray]:
        """See the base class."""
        return {THRESHOLDS: self._thresholds}


class NormalizedRounding(Rounding):
    """Rounding of normalized latents in steps of Δ, coded under a Laplacian of unit variance.

    Args:
        mode: replacement of rounding in training, one of `MODES`. Noise is uniform over one step
            of the latent, σ · Δ.
    """

    def __init__(self, mode: str = "noise") -> None:
        super().__init__(mode, "laplace")
        self.zero_mean = False
        self._steps = np.zeros(0, np.int32)

    # Training

    def synthesis_input(
        self,
        y: tf.Tensor,
        noisy: tf.Tensor | None,
        params: EntropyParameters,
    ) -> tf.Tensor:
        """See the base class."""
        if noisy is not None and self.mode == "noise":
            return y + self.step(params) * (noisy - y)
        return self.quantize(y, params)

    def noisy_bits(self, y: tf.Tensor, noisy: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class."""
        if self.mode == "round":
            perturbed = tfc.round_st(self.normalized(y, params))
        else:
            perturbed = self.normalized(y, params) + (noisy - y)
        return tf.reduce_sum(self.symbol_bits(perturbed, params), axis=(1, 2, 3))

    # Integers

    def step(self, params: EntropyParameters) -> tf.Tensor:
        """Returns σ · Δ."""
        if self._steps.size:
            steps = tf.constant(self._steps, tf.float32) * 2.0**-STEP_UNIT_BITS
            return tf.gather(steps, tf.cast(params.index, tf.int32))
        place = _place(params.index)
        return scale_of(params.index - SCALES * place) * _relative_step(place)

    def normalized(self, y: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class."""
        return (y - params.mean) / self.step(params)

    def quantize(self, y: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """Returns decoded latents; rounding has the gradient of the identity."""
        rounded = tfc.round_st(self.normalized(y, params))
        return self.from_symbols(_clipped(rounded), params)

    def symbols_of(self, y: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class."""
        return _clipped(tf.round(self.normalized(y, params)))

    def from_symbols(self, symbols: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class."""
        latents = symbols * self.step(params) + params.mean
        if not self._steps.size:
            return latents
        return tf.round(latents * 2.0**MEAN_BITS) * 2.0**-MEAN_BITS

    def estimated_bits(self, y: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class."""
        bits = self.symbol_bits(self.symbols_of(y, params), params)
        return tf.reduce_sum(bits, axis=(1, 2, 3))

    def symbol_bits(self, symbols: tf.Tensor, params: EntropyParameters) -> tf.Tensor:
        """See the base class."""
        scale = UNIT_VARIANCE / _relative_step(_place(params.index))
        return self.prior(loc=0.0, scale=scale).log_prob(symbols) / -math.log(2.0)

    # Coding

    def table_prior(self) -> Any:
        """See the base class."""
        return self.prior(loc=0.0, scale=UNIT_VARIANCE / tf.constant(STEPS))

    def table_entries(self, params: EntropyParameters) -> tuple[tf.Tensor, tf.Tensor | None]:
        """See the base class."""
        return tf.cast(params.index, tf.int32) // SCALES, None

    # Freezing

    def freeze(self, state: dict[str, Any] | None) -> None:
        """Tabulates σ · Δ, or takes a stored table."""
        if state is not None:
            self._steps = state["steps"]
            return
        scales = scale_of(tf.range(SCALES, dtype=tf.float64)).numpy()
        mantissa, exponent = np.frexp((np.array(STEPS)[:, None] * scales).ravel())
        mantissa = np.rint(2.0**STEP_BITS * mantissa)
        steps = np.ldexp(mantissa, exponent - STEP_BITS + STEP_UNIT_BITS)
        self._steps = steps.astype(np.int32)

    def state(self) -> dict[str, Any]:
        """See the base class."""
        return {"steps": self._steps} if self._steps.size else {}


def _place(index: tf.Tensor) -> tf.Tensor:
    """Returns the place in `STEPS` that an index numbers, as a float."""
    return tf.floor(index * (1.0 / SCALES))


def _relative_step(place: tf.Tensor) -> tf.Tensor:
    """Returns the steps Δ of places."""
    return tf.gather(tf.constant(STEPS), tf.cast(place, tf.int32))


def _clipped(symbols: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(symbols, -LARGEST_SYMBOL, LARGEST_SYMBOL)
