"""Gates on the channels of a synthesis, by which a training finds the channels to remove.

After Johnston, Eban, Gordon, Ballé, "Computationally Efficient Neural Image Compression"
(arXiv:1912.08771), which applies MorphNet (Gordon et al., CVPR 2018): the penalty of a channel is
proportional to the cost of the layers that produce and read it. MorphNet penalizes the factors of
batch normalizations. These transforms have none, so that every channel has a gate of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tfc_models.decoders.costs import CostFunction
from tfc_models.decoders.replacement import ReplacementDecoder
from tfc_models.decoders.widths import Widths, narrowed_state, widths_of
from tfc_models.layers import Chain, Conv2D, GainedResidual


class GatedChain(Chain):
    """Synthesis whose channels are multiplied by gates; the gates of removed channels are 0.

    Attributes:
        gates: trained factors of each group, 1 at first.
        kept: 1 for the channels of each group that remain, 0 for the others.
    """

    def __init__(self, synthesis: Chain) -> None:
        super().__init__(synthesis.layers, name=synthesis.name)
        widths = widths_of(synthesis)
        self.gates = {n: self._per_channel(f"{n}_gates", w, True) for n, w in widths.items()}
        self.kept = {n: self._per_channel(f"{n}_kept", w, False) for n, w in widths.items()}
        self.built = True

    def _per_channel(self, name: str, width: int, trainable: bool) -> tf.Variable:
        return self.add_weight(name, [width], initializer="ones", trainable=trainable)

    def factors(self, group: str) -> tf.Tensor:
        """Returns the factors of the channels of a group."""
        return self.gates[group] * self.kept[group]

    def call(
        self,
        inputs: tf.Tensor,
        weights: tf.Tensor | None = None,
        before: Mapping[str, Callable[[tf.Tensor], tf.Tensor]] | None = None,
    ) -> tf.Tensor:
        """Applies the layers in order, with gates; see `Chain`."""
        maps, dtype = inputs, inputs.dtype
        trunk: tf.Tensor | None = None
        for layer in self.layers:
            if isinstance(layer, GainedResidual):
                hidden = layer.gain(layer.expand(maps), weights)
                added = layer.reduce(hidden * tf.cast(self.factors(layer.name), dtype))
                maps += added if trunk is None else added * trunk
            elif isinstance(layer, Conv2D):
                maps = layer(maps)
                if layer.name in self.gates:
                    trunk = tf.cast(self.factors(layer.name), dtype)
                    maps *= trunk
            else:
                maps = layer(maps, weights) if layer.takes_rate else layer(maps)
        return maps

    def folded_state(self) -> dict[str, np.ndarray]:
        """Returns the weights of the chain without gates that gives the same result."""
        state = {k: np.array(v) for k, v in self.state().items()}
        trunk = None
        for layer in self.layers:
            if isinstance(layer, Conv2D) and layer.name in self.gates:
                trunk = self.factors(layer.name).numpy()
                _scale_outputs(state, layer.name, trunk)
            elif isinstance(layer, GainedResidual):
                state[f"{layer.name}/reduce/kernel"] *= self.factors(layer.name).numpy()[:, None]
                if trunk is not None:
                    _scale_outputs(state, f"{layer.name}/reduce", trunk)
        return state


def _scale_outputs(state: dict[str, np.ndarray], name: str, factors: np.ndarray) -> None:
    for key in (f"{name}/kernel", f"{name}/bias"):
        if key in state:
            state[key] *= factors


class GatedDecoder(ReplacementDecoder):
    """Replacement decoder with gates on its channels."""

    def __init__(self, start: ReplacementDecoder) -> None:
        super().__init__(start.base, start.widths)
        self.assign_state(start.state())
        self.synthesis = GatedChain(self.synthesis)

    def variable_groups(self) -> list[str]:
        """See the base class; gates are a group of their own."""
        gates = {gate.ref() for gate in self.synthesis.gates.values()}
        return ["gates" if v.ref() in gates else "model" for v in self.trainable_variables]

    @property
    def kept_widths(self) -> Widths:
        """Number of channels of each group that are not removed."""
        kept = {n: int(v.numpy().sum()) for n, v in self.synthesis.kept.items()}
        # Blocks that had no channels at the start have no gates.
        return {**dict.fromkeys(self.widths, 0), **kept}

    def penalty(self, costs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the sum over channels of the gate's magnitude times the cost of a channel."""
        terms = [
            cost * tf.reduce_sum(tf.abs(self.synthesis.factors(name)))
            for name, cost in costs.items()
        ]
        return tf.add_n(terms)

    def remove_until(self, cost_of: CostFunction, limit: float, multiple: int = 8) -> None:
        """Removes the channels with the smallest gates until the cost is within a limit.

        Channels are removed `multiple` at a time, because convolutions are fastest if their
        numbers of channels are multiples of that. Residual blocks may lose all hidden channels.

        Args:
            cost_of: returns the cost of widths.
            limit: the limit.
            multiple: number of channels that are removed at a time.
        """
        while cost_of(self.kept_widths) > limit:
            candidates = [c for n in self.synthesis.kept if (c := self._smallest(n, multiple))]
            if not candidates:
                raise ValueError(f"no channels are left to remove: the cost exceeds {limit:.4g}.")
            _, name, channels = min(candidates)
            values = self.synthesis.kept[name].numpy()
            values[channels] = 0.0
            self.synthesis.kept[name].assign(values)

    def _smallest(self, name: str, multiple: int) -> tuple[float, str, list[int]] | None:
        """Returns the mean gate of the next channels to remove, the group and the channels."""
        kept = np.flatnonzero(self.synthesis.kept[name].numpy())
        is_block = not any(
            la.name == name for la in self.synthesis.layers if isinstance(la, Conv2D)
        )
        if len(kept) <= (0 if is_block else multiple):
            return None
        count = len(kept) % multiple or multiple
        gates = np.abs(self.synthesis.gates[name].numpy())
        channels = sorted(kept, key=lambda channel: gates[channel])[:count]
        return float(np.mean(gates[channels])), name, [int(c) for c in channels]

    def narrowed(self) -> ReplacementDecoder:
        """Returns the decoder without gates and without the removed channels."""
        kept = {n: np.flatnonzero(v.numpy()) for n, v in self.synthesis.kept.items()}
        decoder = ReplacementDecoder(self.base, self.kept_widths)
        state = self.synthesis.folded_state()
        decoder.assign_state(narrowed_state(self.synthesis, state, kept))
        return decoder
