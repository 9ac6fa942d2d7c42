"""Prediction from hyper-latents and decoded latents: contexts in space and across channels."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.entropy.networks import LATENTS, Input, Network, Networks
from tfc_models.entropy.order import Group, Latents, Parallel
from tfc_models.entropy.parameters import MEAN_BITS, EntropyParameters, Outputs
from tfc_models.entropy.prediction import EXACT_TILE, HYPER_INPUT, REDUCTION, HyperPrediction
from tfc_models.entropy.rates import FixedRate
from tfc_models.entropy.slices import JointSlice, SeparateSlice
from tfc_models.layers import Chain, Conv2D

CORRECTIONS = "corrections"  # name in stored states
# Exact corrections come from a table of tanh at multiples of 2^-5 between -4 and 4.
TANH_BITS, TANH_REACH = 5, 4


class HalfTanh:
    """tanh(x)/2, a residual correction of half a step at most; tabulated after freezing."""

    def __init__(self) -> None:
        self.table = np.zeros(0, np.int8)

    def __call__(self, outputs: Outputs) -> tf.Tensor:
        """Returns corrections for a network's outputs."""
        values, unit = outputs
        if unit is None:
            return 0.5 * tf.tanh(values)
        entry = tf.round(values * tf.constant(unit * 2**TANH_BITS, values.dtype))
        last = TANH_REACH * 2**TANH_BITS
        entry = tf.cast(tf.clip_by_value(entry, -last, last) + last, tf.int32)
        return tf.gather(tf.constant(self.table, tf.float32), entry) * 2.0**-MEAN_BITS

    def freeze(self) -> None:
        """Makes the table."""
        steps = np.arange(-TANH_REACH, TANH_REACH + 2.0 ** -(TANH_BITS + 1), 2.0**-TANH_BITS)
        self.table = np.rint(2.0 ** (MEAN_BITS - 1) * np.tanh(steps)).astype(np.int8)


class ContextPrediction(HyperPrediction):
    """Entropy parameters from features of hyper-latents and from decoded latents.

    Slices of channels are coded one after another. The networks of a slice read features, the
    slices before it, and in an order such as a checkerboard the decoded latents of the slice
    itself. The first `support` slices are context for all later ones. Later slices do not read
    one another; if all of these are `Parallel`, they are decoded together.

    Args:
        features: networks that read hyper-latents; slices read their outputs.
        slices: in the order of decoding.
        support: number of first slices that later ones read; None: all.
    """

    def __init__(
        self,
        features: Chain | dict[str, Chain],
        slices: Sequence[JointSlice | SeparateSlice],
        support: int | None = None,
    ) -> None:
        chains = features if isinstance(features, dict) else {"": features}
        self.slices, self.rates = list(slices), FixedRate()
        self.support = len(slices) if support is None else min(support, len(slices))
        self.ends = np.cumsum([0, *(part.channels for part in slices)]).tolist()
        self.latents = self.ends[-1]
        if len({part.components for part in slices}) > 1:
            raise ValueError("slices have mixtures of one number of components.")
        self.components = slices[0].components
        self._feature_names = list(chains)
        networks = [
            Network(name, chain, HYPER_INPUT, hidden=True, stored_as=None if name else "synthesis")
            for name, chain in chains.items()
        ]
        inputs = [Input(name) for name in chains]
        for i, part in enumerate(slices):
            prefix = f"slice{i}/" if len(slices) > 1 else ""
            before = [Input(LATENTS, self.channels_of([j])) for j in range(min(i, self.support))]
            own = Input(LATENTS, self.channels_of([i]))
            networks += part.networks(prefix, inputs, before, own)
        self.networks = Networks(networks)
        self.half_tanh = HalfTanh()
        rest = slices[self.support :]
        together = all(type(part.order) is Parallel for part in rest)
        together = together and len({type(part) for part in rest}) < 2
        first = self.support if together else len(slices)
        self.steps = [range(i, i + 1) for i in range(first)]
        if first < len(slices):
            self.steps.append(range(first, len(slices)))
        self._samples: dict[int, list[tf.Tensor]] = {}

    @property
    def sequential(self) -> bool:
        """Whether latents are decoded one after another."""
        return any(part.order.sequential for part in self.slices)

    @property
    def heads(self) -> list[Conv2D]:
        """Layers whose outputs are indexes, means and corrections."""
        return [head for part in self.slices for head in part.heads]

    @property
    def scale_heads(self) -> list[tuple[Conv2D, int]]:
        """Layers whose first outputs are scale indexes, with the number of these."""
        return [(part.scale_head, part.channels) for part in self.slices]

    def context_inputs(self) -> list[tuple[Conv2D, int]]:
        """Returns the layers that read a context, with the number of their last such inputs."""
        width = self.networks[self._feature_names[0]].layers[-1].filters
        return [pair for part in self.slices for pair in part.context_inputs(width)]

    def channels_of(self, step: Sequence[int]) -> slice:
        """Returns the channels of consecutive slices."""
        return slice(self.ends[step[0]], self.ends[step[-1] + 1])

    def groups(self, shape: tf.Tensor) -> list[Group]:
        """Returns groups of latents in the order of coding."""
        return [
            group
            for step in self.steps
            for group in self.slices[step[0]].order.groups(shape, self.channels_of(step))
        ]

    def features(self, z_hat: tf.Tensor, shape: tf.Tensor) -> list[tf.Tensor]:
        """Returns features of hyper-latents, cropped to the latents' height and width."""
        maps = [
            self.networks.tiled_features(name, z_hat, REDUCTION, EXACT_TILE)
            for name in self._feature_names
        ]
        return [m[:, : shape[0], : shape[1]] for m in maps]

    def visit(
        self, features: Any, shape: tf.Tensor, rate: tf.Tensor | None, latents: Latents
    ) -> tuple[EntropyParameters, tf.Tensor]:
        """See the base class."""
        self._samples = {}
        parts: list[tuple[tf.Tensor | None, ...]] = []
        decoded: list[tf.Tensor] = []
        before: list[tf.Tensor] = []
        for step in self.steps:
            visited = SliceInputs(self, step, features, before, shape, rate)
            params, y_hat = self.slices[step[0]].order.visit(visited, latents)
            correction = visited.correction(y_hat)
            if correction is not None:
                y_hat += correction
            decoded.append(y_hat)
            if step[-1] < len(self.slices) - 1:
                before = [*before, *visited.split(visited.normalized(y_hat))][: self.support]
            parts.append((params.index, params.mean, correction))
        indexes, means, corrections = map(list, zip(*parts))
        if any(maps is not None for maps in corrections):
            pairs = zip(corrections, decoded)
            corrections = [tf.zeros_like(y) if maps is None else maps for maps, y in pairs]
        params = EntropyParameters(_joined(indexes), _joined(means), _joined(corrections))
        return params, tf.concat(decoded, -1)

    def normalized(self, y_hat: tf.Tensor, rate: tf.Tensor | None, channels: slice) -> tf.Tensor:
        """Returns decoded latents of some channels as networks read them."""
        if self.networks.frozen:
            unit = self.networks.decoded_unit[channels]
            return self.rates.normalized_integers(y_hat, rate, unit, channels)
        result = self.rates.normalize(y_hat, rate, channels)
        if self.networks.recording:
            self._samples.setdefault(channels.start, []).append(result)
        return result

    def decoded_samples(self) -> list[tf.Tensor]:
        """See the base class."""
        columns = [self._samples[start] for start in sorted(self._samples)]
        count = max(map(len, columns))
        columns = [[*maps, *maps[-1:] * (count - len(maps))] for maps in columns]
        return [tf.concat(row, -1) for row in zip(*columns)]

    def freeze_tables(self, state: dict[str, np.ndarray] | None) -> None:
        """See the base class."""
        if any(isinstance(part, SeparateSlice) for part in self.slices):
            if state is None:
                self.half_tanh.freeze()
            else:
                self.half_tanh.table = state[CORRECTIONS]

    def tables(self) -> dict[str, np.ndarray]:
        """See the base class."""
        return {CORRECTIONS: self.half_tanh.table} if self.half_tanh.table.size else {}


@dataclasses.dataclass(frozen=True)
class SliceInputs:
    """Consecutive slices that an order visits, with the maps that their networks read."""

    model: ContextPrediction
    step: range
    features: list[tf.Tensor]
    before: list[tf.Tensor]
    shape: tf.Tensor
    rate: tf.Tensor | None

    @property
    def channels(self) -> slice:
        """Channels of the slices."""
        return self.model.channels_of(self.step)

    @property
    def width(self) -> int:
        """Number of channels."""
        return self.channels.stop - self.channels.start

    @functools.cached_property
    def _inputs(self) -> list[Any]:
        """Maps that the networks of each slice read beside the context in space."""
        networks = self.model.networks
        return [part.inputs(networks, self.features, self.before) for part in self._parts]

    @property
    def _parts(self) -> list[JointSlice | SeparateSlice]:
        return [self.model.slices[i] for i in self.step]

    def split(self, maps: tf.Tensor) -> list[tf.Tensor]:
        """Returns the maps of each slice."""
        return tf.split(maps, [part.channels for part in self._parts], axis=-1)

    def parameters(
        self,
        decoded: tf.Tensor | None = None,
        known: tf.Tensor | None = None,
        group: int | None = None,
    ) -> EntropyParameters:
        """See `order.VisitedSlice`."""
        context = None if decoded is None else self.normalized(decoded)
        bits = self.model.rates.index_fraction_bits
        results = [
            part.parameters(self.model.networks, inputs, context, known, bits, group)
            for part, inputs in zip(self._parts, self._inputs)
        ]
        index, mean = (tf.concat([p[i] for p in results], -1) for i in range(2))
        return self._adapted(EntropyParameters(index, mean))

    def _adapted(self, params: EntropyParameters) -> EntropyParameters:
        return self.model.adapted(params, self.rate, self.channels)

    def context_free_inputs(self) -> tf.Tensor:
        """See `order.VisitedSlice`."""
        (inputs,) = self._inputs
        return inputs

    def front_parameters(self, inputs: tf.Tensor, windows: tf.Tensor) -> EntropyParameters:
        """See `order.VisitedSlice`."""
        bits = self.model.rates.index_fraction_bits
        return self._adapted(
            self._joint.window_parameters(self.model.networks, inputs, windows, bits)
        )

    def normalized(self, y_hat: tf.Tensor) -> tf.Tensor:
        """See `order.VisitedSlice`."""
        return self.model.normalized(y_hat, self.rate, self.channels)

    @property
    def _joint(self) -> JointSlice:
        (part,) = self._parts
        assert isinstance(part, JointSlice), "only these have a context in space"
        return part

    def correction(self, y_hat: tf.Tensor) -> tf.Tensor | None:
        """Returns the correction of decoded latents, or None for slices without."""
        separate = [part for part in self._parts if isinstance(part, SeparateSlice)]
        if len(separate) < len(self._parts):
            return None
        pairs = zip(separate, self.split(self.normalized(y_hat)))
        networks, half_tanh = self.model.networks, self.model.half_tanh
        corrections = [
            half_tanh(part.correction_of(networks, self.features, self.before, latents))
            for part, latents in pairs
        ]
        return tf.concat(corrections, -1)


def _joined(maps: Sequence[tf.Tensor | None]) -> tf.Tensor | None:
    """Returns channels behind one another; None if maps are missing."""
    return None if any(m is None for m in maps) else tf.concat(maps, -1)
