"""Prediction of entropy parameters from hyper-latents alone; base of predictions with context."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.entropy.networks import HYPER_LATENTS, Input, Network, Networks
from tfc_models.entropy.order import Group, Latents, Parallel
from tfc_models.entropy.parameters import (
    ALL_CHANNELS,
    INDEX_ORIGIN,
    INDEX_STEP,
    EntropyParameters,
    indexes_per_latent,
    mean_of,
    scale_index,
)
from tfc_models.entropy.rates import FixedRate
from tfc_models.layers import Chain, Conv2D, tiled

REDUCTION = 4  # Hyper-latents have a quarter of the latents' height and width.
EXACT_TILE = 16  # hyper-latents a side, 1024 pixels
HYPER_INPUT = (Input(HYPER_LATENTS),)


class HyperPrediction:
    """Scale indexes, and means, of all latents from hyper-latents.

    Args:
        synthesis: a network whose outputs are scale indexes, or scale indexes and then means.
        means: a second network whose outputs are means; `synthesis` then has indexes only.
        zero_mean: whether latents have no means.
    """

    zero_mean = False
    """Whether latents have no means."""

    components = 1
    """Number of distributions that a latent's one is a mixture of."""

    def __init__(
        self, synthesis: Chain, means: Chain | None = None, zero_mean: bool = False
    ) -> None:
        networks = [Network("", synthesis, HYPER_INPUT, stored_as="synthesis")]
        if means is not None:
            networks.append(Network("means", means, HYPER_INPUT))
        self.networks = Networks(networks)
        self.rates = FixedRate()
        self.zero_mean, self._separate = zero_mean, means is not None
        self._outputs = sum(head.filters for head in self.heads)
        self.latents = self._outputs if zero_mean else self._outputs // 2

    @property
    def sequential(self) -> bool:
        """Whether latents are decoded one after another."""
        return False

    @property
    def heads(self) -> list[Conv2D]:
        """Layers whose outputs are indexes, means and corrections."""
        return [chain.layers[-1] for chain in self.networks.chains]

    @property
    def scale_heads(self) -> list[tuple[Conv2D, int]]:
        """Layers whose first outputs are scale indexes, with the number of these."""
        return [(self.heads[0], self.latents)]

    def start_scales(self, index: np.ndarray) -> None:
        """Makes the networks predict nearly these scale indexes, one per latent channel."""
        first = 0
        for layer, channels in self.scale_heads:
            state = {k: np.array(v) for k, v in layer.state().items()}
            count = min(channels, len(index) - first)
            outputs = (index[first : first + count] - INDEX_ORIGIN) / INDEX_STEP
            per_latent = indexes_per_latent(self.components)
            rows = state["bias"][: count * per_latent].reshape(count, per_latent)
            rows[:] = 0.0  # Equal weights.
            rows[:, : self.components] = outputs[:, None]
            layer.assign_state({**state, "kernel": 0.1 * state["kernel"]})
            first += channels

    def context_inputs(self) -> list[tuple[Conv2D, int]]:
        """Returns the layers that read a context, with the number of their last such inputs."""
        return []

    def groups(self, shape: tf.Tensor) -> list[Group]:
        """Returns groups of latents in the order of coding."""
        return Parallel().groups(shape)

    def features(self, z_hat: tf.Tensor, shape: tf.Tensor) -> Any:
        """Returns features of hyper-latents, cropped to the latents' height and width."""
        if self.networks.frozen:
            # In tiles, so that an image of any size, or a forged size, takes little memory.
            out = tf.TensorSpec([None, None, self._outputs], tf.float32)
            halo = max(self.networks.halo(name) for name in self.networks.names)
            outputs = tiled(self._outputs_of, z_hat, 1, REDUCTION, out, EXACT_TILE, halo)
        else:
            outputs = self._outputs_of(z_hat)
        return outputs[:, : shape[0], : shape[1]]

    def _outputs_of(self, z_hat: tf.Tensor) -> tf.Tensor:
        index = self.networks.predict("", z_hat)
        if self.zero_mean:
            return scale_index(index, self.rates.index_fraction_bits)
        if self._separate:
            mean = self.networks.predict("means", z_hat)
        else:
            index, mean = index.split()
        return tf.concat([scale_index(index, self.rates.index_fraction_bits), mean_of(mean)], -1)

    def visit(
        self, features: Any, shape: tf.Tensor, rate: tf.Tensor | None, latents: Latents
    ) -> tuple[EntropyParameters, tf.Tensor]:
        """Visits all latents in the order of coding.

        Args:
            features: what `features` returned.
            shape: height and width of the latents.
            rate: of each example, for models of many rates.
            latents: source of the latents.

        Returns:
            The parameters of all latents, and the latents with their corrections.
        """
        index, mean = (features, None) if self.zero_mean else tf.split(features, 2, axis=-1)
        params = self.adapted(EntropyParameters(index, mean), rate)
        return params, latents(self.groups(shape)[0], params)

    def adapted(
        self, params: EntropyParameters, rate: tf.Tensor | None, channels: slice = ALL_CHANNELS
    ) -> EntropyParameters:
        """Returns parameters at a rate; exact indexes are limited to the table."""
        index, mean = self.rates.adapt(params.index, params.mean, rate, channels)
        if self.networks.frozen:
            index = tf.clip_by_value(index, 0, self.rates.indexes - 1)
        return EntropyParameters(index, mean)

    def decoded_samples(self) -> list[tf.Tensor]:
        """Returns decoded latents that were read while networks recorded their inputs."""
        return []

    def freeze_tables(self, state: dict[str, np.ndarray] | None) -> None:
        """Makes tables of functions between networks, or takes stored ones."""

    def tables(self) -> dict[str, np.ndarray]:
        """Returns the tables that `freeze_tables` made, by their names in a stored state."""
        return {}
