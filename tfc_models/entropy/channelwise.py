"""A context of channels: every slice of them is predicted from those decoded before it."""

from __future__ import annotations

import functools
from typing import Any, Callable, NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.entropy import ordered
from tfc_models.entropy.exact import (
    Integers,
    activation_integers,
    find_exponent,
)
from tfc_models.entropy.hyperprior import (
    INDEX_ORIGIN,
    INDEX_STEP,
    MEAN_BITS,
    SCALES,
    Quantized,
    Told,
)
from tfc_models.entropy.reading import GainedReading, ReadingHyperprior
from tfc_models.layers import Chain, CompressionLayer, Conv2D, part_of

# A correction, in a frozen model, is looked up: tanh of multiples of 2^-5, between -4 and 4.
TANH_BITS, TANH_REACH = 5, 4


class Slice(NamedTuple):
    """The networks of some channels: all read what z tells, and the slices before."""

    mean: Chain
    scale: Chain
    correction: Chain

    @property
    def channels(self) -> int:
        """How many they are."""
        return self.mean.layers[-1].filters


class ChannelwiseHyperprior(ReadingHyperprior):
    """Predicts slices of channels, one after another, from z and from the slices before.

    Minnen, Singh, "Channel-wise Autoregressive Entropy Models for Learned Image Compression"
    (ICIP 2020)::

        z ─┬─ features ─┬───────────── mean ─── μ
           │            └── correction ──────── ŷ + tanh(·)/2
           └─ features ─────────────── scale ── σ
        ŷ of slices before ─ to all three; ŷ of this one ─ to its correction

    The correction, the paper's latent residual prediction, moves what rounding gave by half a
    step at most. Slices read the first `support` of those before them; all that come later are
    told by the same ones, and so are predicted and decoded together.

    Here `hyper_synthesis` gives the features for means and corrections, `scale_synthesis` those
    for scales.
    """

    def __init__(
        self, *arguments: Any, scale_synthesis: Chain, slices: list[Slice], support: int
    ) -> None:
        super().__init__(*arguments)
        self.scale_synthesis, self.slices = scale_synthesis, slices
        support = min(support, len(slices))
        self._ends = np.cumsum([0, *(own.channels for own in slices)]).tolist()
        self._steps = [range(i, i + 1) for i in range(support)]
        if support < len(slices):
            self._steps.append(range(support, len(slices)))
        self.support = support

    def learned_layers(self) -> list[CompressionLayer]:
        """Layers that hold every learned value."""
        return [*super().learned_layers(), self.scale_synthesis, *self.networks]

    def _channels(self, step: range) -> slice:
        return slice(self._ends[step[0]], self._ends[step[-1] + 1])

    def _features(self, z_hat: tf.Tensor, shape: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What z tells of every latent: for means, and for scales."""
        means = self._features_of(self.hyper_synthesis, self.exact, z_hat, shape)
        exact = self._readers.get("scales")
        return means, self._features_of(self.scale_synthesis, exact, z_hat, shape)

    def _walk(
        self,
        features: tuple[tf.Tensor, tf.Tensor],
        rate: tf.Tensor | None,
        read: Callable[[tf.Tensor, tf.Tensor, slice], tf.Tensor],
    ) -> tuple[Told, tf.Tensor]:
        """Goes through the slices; what all are told, and the latents.

        `read` gives some channels of the latents under their indexes and means, as they were
        decoded or will be.
        """
        means, scales = features
        parts, found, seen = [], [], []
        for step in self._steps:
            channels = self._channels(step)
            index, mean = self._at_rate(*self._tell(step, means, scales, seen), rate, channels)
            if self.exact is not None:
                index = tf.clip_by_value(index, 0, SCALES - 1)
            y_hat = read(index, mean, channels)
            correction = self._correct(step, means, seen, self._to_read(y_hat, rate, channels))
            found.append(y_hat + correction)
            seen.append(self._to_read(found[-1], rate, channels))
            parts.append(Told(index, mean, correction))
        return Told(*(tf.concat(part, -1) for part in zip(*parts))), tf.concat(found, -1)

    def _tell(
        self, step: range, means: tf.Tensor, scales: tf.Tensor, seen: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scale indexes and means of some slices."""
        maps = _joined(scales, *seen)
        index = [self._exactly("scale", i, maps, self._exact_index) for i in step]
        if self.exact is None:
            index = [raw * INDEX_STEP + INDEX_ORIGIN for raw in index]
        maps = _joined(means, *seen)
        mean = [self._exactly("mean", i, maps, self._exact_mean) for i in step]
        return tf.concat(index, -1), tf.concat(mean, -1)

    def _correct(
        self, step: range, means: tf.Tensor, seen: list[tf.Tensor], own: tf.Tensor
    ) -> tf.Tensor:
        """What is added to some slices once they are read themselves."""
        corrections = []
        for i, latents in zip(step, tf.split(own, [self.slices[i].channels for i in step], -1)):
            maps = _joined(means, *seen, latents)
            output = self._exactly("correction", i, maps, self._exact_correction)
            corrections.append(0.5 * tf.tanh(output) if self.exact is None else output)
        return tf.concat(corrections, -1)

    def _exactly(
        self,
        kind: str,
        i: int,
        maps: tf.Tensor,
        take: Callable[[tf.Tensor, np.ndarray], tf.Tensor],
    ) -> tf.Tensor:
        """What a slice's network gives; in a frozen model what is taken of its exact sums."""
        network = self._readers.get(f"slice{i}/{kind}")
        if network is None:
            return tf.cast(getattr(self.slices[i], kind)(maps), tf.float32)
        return take(network(maps), np.exp2(-network.outputs_exponent.astype(np.float64)))

    def _exact_correction(self, sums: tf.Tensor, unit: np.ndarray) -> tf.Tensor:
        entry = tf.round(sums * tf.constant(unit * 2**TANH_BITS, sums.dtype))
        last = TANH_REACH * 2**TANH_BITS
        entry = tf.cast(tf.clip_by_value(entry, -last, last) + last, tf.int32)
        return tf.gather(tf.constant(self._corrections, tf.float32), entry) * 2.0**-MEAN_BITS

    def predict(
        self, quantized: Quantized, shape: tf.Tensor, z_hat: tf.Tensor, rate: tf.Tensor | None
    ) -> Told:
        """See the base class."""

        def read(index: tf.Tensor, mean: tf.Tensor, channels: slice) -> tf.Tensor:
            del index
            return quantized(mean, channels)

        return self._walk(self._features(z_hat, shape), rate, read)[0]

    def decoding_groups(self, shape: tf.Tensor) -> list[tf.Tensor]:
        """The channels of each step of decoding."""
        del shape
        number = tf.range(self._ends[-1])
        spans = [self._channels(step) for step in self._steps]
        return [
            tf.cast((number >= s.start) & (number < s.stop), tf.float32)[None, None, None]
            for s in spans
        ]

    def _encoded(
        self, symbols: tf.Tensor, index: tf.Tensor, mean: tf.Tensor | None
    ) -> tuple[tf.Tensor, ...]:
        del mean

        def in_order(maps: tf.Tensor) -> tf.Tensor:
            parts = [maps[..., self._channels(step)] for step in self._steps]
            return tf.concat([tf.reshape(part, [tf.shape(part)[0], -1]) for part in parts], 1)

        return (ordered.encode(self, in_order(symbols), in_order(index)),)

    def _decoded(
        self, own: list[tf.Tensor], z_hat: tf.Tensor, shape: tf.Tensor, rate: tf.Tensor | None
    ) -> tf.Tensor:
        (strings,) = own
        decoder = ordered.Decoder(self, strings, tf.reduce_prod(shape) * self._ends[-1])
        state = None

        def read(index: tf.Tensor, mean: tf.Tensor, channels: slice) -> tf.Tensor:
            nonlocal state
            del channels
            state, residuals = decoder.read(state, index)
            return residuals + mean

        return self._walk(self._features(z_hat, shape), rate, read)[1]

    def _read_by(self, i: int, means: Any, scales: Any, seen: list[Any], own: Any) -> dict:
        """Of maps, or of what stands for them: what each network of a slice reads."""
        before = seen[: min(i, self.support)]
        return {
            "mean": [means, *before],
            "scale": [scales, *before],
            "correction": [means, *before, own],
        }

    def _find_shifts(
        self, y: tf.Tensor, rate: tf.Tensor | None, representative: bool
    ) -> dict[str, np.ndarray]:
        samples = self._hyper_samples(y, rate, representative)
        shifts = super()._find_shifts(y, rate, representative)
        found = self._shifts_of(self.scale_synthesis.layers, samples)
        shifts.update({f"scales/{k}": v for k, v in found.items()})
        features = self._features(samples[0], tf.shape(y)[1:3])
        told, y_hat = self._walk(features, rate, lambda _, m, c: self.quantize(y[..., c], m))
        seen, before = (self._to_read(m, rate) for m in (y_hat, y_hat - told.correction))
        shifts["seen"] = find_exponent([seen, before], self.activation_bits)
        steps = np.arange(-TANH_REACH, TANH_REACH + 2.0 ** -(TANH_BITS + 1), 2.0**-TANH_BITS)
        shifts["corrections"] = np.rint(2.0 ** (MEAN_BITS - 1) * np.tanh(steps)).astype(np.int8)
        seen, before = (tf.split(m, np.diff(self._ends), axis=-1) for m in (seen, before))
        for i, networks in enumerate(self.slices):
            maps = self._read_by(i, *features, seen, before[i])
            integers = self._integers(i, shifts)
            for kind, network in networks._asdict().items():
                told, *_ = maps[kind]
                found = self._shifts_of(
                    network.layers, [_joined(*maps[kind])], integers[kind], told.shape[-1]
                )
                shifts.update({f"slice{i}/{kind}/{k}": v for k, v in found.items()})
        return shifts

    def _integers(self, i: int, shifts: dict[str, np.ndarray]) -> dict[str, Integers]:
        """What each network of a slice reads, frozen."""
        last = f"activations{len(self.hyper_synthesis.layers) - 1}"
        bits = self.activation_bits
        means, scales = (activation_integers(shifts[k], bits) for k in (last, f"scales/{last}"))
        seen = np.split(shifts["seen"], self._ends[1:-1])
        seen = [activation_integers(exponent, bits) for exponent in seen]
        parts = self._read_by(i, means, scales, seen, seen[i])
        return {kind: functools.reduce(Integers.beside, own) for kind, own in parts.items()}

    def _make_exact(self, shifts: dict[str, np.ndarray]) -> None:
        own = {k: v for k, v in shifts.items() if "/" not in k}
        self._seen, self._corrections = own.pop("seen"), own.pop("corrections")
        self.exact = self._exact_of(self.hyper_synthesis.layers, own, activated=True)
        scales = self._exact_of(
            self.scale_synthesis.layers, part_of(shifts, "scales/"), activated=True
        )
        self._readers["scales"] = scales
        for i, networks in enumerate(self.slices):
            integers = self._integers(i, shifts)
            for kind, network in networks._asdict().items():
                name = f"slice{i}/{kind}"
                self._readers[name] = self._exact_of(
                    network.layers, part_of(shifts, f"{name}/"), integers[kind]
                )

    def _shifts(self) -> dict[str, np.ndarray]:
        return {**super()._shifts(), "corrections": self._corrections}

    @property
    def networks(self) -> list[Chain]:
        """Those of all slices."""
        return [network for networks in self.slices for network in networks]

    @property
    def heads(self) -> list[Conv2D]:
        """The layers that give indexes, means and corrections."""
        return [network.layers[-1] for network in self.networks]

    @property
    def scale_heads(self) -> list[Conv2D]:
        """The layers that give scale indexes, in order of the latents."""
        return [networks.scale.layers[-1] for networks in self.slices]

    def float_layers(self) -> dict[str, Conv2D]:
        """The hyper networks' and the slices' layers by name."""
        networks = {"scales": self.scale_synthesis}
        for i, own in enumerate(self.slices):
            networks.update({f"slice{i}/{k}": v for k, v in own._asdict().items()})
        named = {f"{n}/{la.name}": la for n, net in networks.items() for la in net.layers}
        return {**super().float_layers(), **named}


class GainedChannelwise(ChannelwiseHyperprior, GainedReading):
    """The same for latents at any rate."""


def _joined(features: tf.Tensor, *seen: tf.Tensor) -> tf.Tensor:
    """Channels behind one another, in the features' dtype."""
    return tf.concat([features, *(tf.cast(m, features.dtype) for m in seen)], -1)
