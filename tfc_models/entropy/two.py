"""A mean-scale hyperprior with a network for the scales and another for the means."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.entropy.exact import ExactNetwork
from tfc_models.entropy.hyperprior import MeanScaleHyperprior
from tfc_models.layers import Chain, CompressionLayer, Conv2D, part_of


class TwoNetworkHyperprior(MeanScaleHyperprior):
    """`MeanScaleHyperprior` whose scales and means share nothing but z.

    `hyper_synthesis` emits scale indexes and `mean_synthesis` means, each for every latent.
    """

    def __init__(self, *arguments: Any, mean_synthesis: Chain) -> None:
        super().__init__(*arguments)
        self.mean_synthesis = mean_synthesis
        self._exact_means: ExactNetwork | None = None

    def learned_layers(self) -> list[CompressionLayer]:
        """Layers that hold every learned value."""
        return [*super().learned_layers(), self.mean_synthesis]

    def _outputs(self, z_hat: tf.Tensor) -> tf.Tensor:
        return tf.concat([self.hyper_synthesis(z_hat), self.mean_synthesis(z_hat)], axis=-1)

    def _exact_parameters(self, z_hat: tf.Tensor) -> tf.Tensor:
        index_unit, mean_unit = (
            np.exp2(-network.outputs_exponent.astype(np.float64))
            for network in (self.exact, self._exact_means)
        )
        index = self._exact_index(self.exact(z_hat), index_unit)
        return tf.concat([index, self._exact_mean(self._exact_means(z_hat), mean_unit)], axis=-1)

    def _find_shifts(
        self, y: tf.Tensor, rate: tf.Tensor | None, representative: bool
    ) -> dict[str, np.ndarray]:
        samples = self._hyper_samples(y, rate, representative)
        means = self._shifts_of(self.mean_synthesis.layers, samples)
        return {
            **self._shifts_of(self.hyper_synthesis.layers, samples),
            **{f"means/{k}": v for k, v in means.items()},
        }

    def _make_exact(self, shifts: dict[str, np.ndarray]) -> None:
        super()._make_exact({k: v for k, v in shifts.items() if "/" not in k})
        self._exact_means = self._exact_of(self.mean_synthesis.layers, part_of(shifts, "means/"))

    def _shifts(self) -> dict[str, np.ndarray]:
        means = {f"means/{k}": v for k, v in self._exact_means.shifts.items()}
        return {**super()._shifts(), **means}

    @property
    def heads(self) -> list[Conv2D]:
        """The layers that give indexes and means."""
        return [self.hyper_synthesis.layers[-1], self.mean_synthesis.layers[-1]]

    @property
    def pieces(self) -> list[int]:
        """How many float32 convolutions stand for each exact layer."""
        return [*self.exact.pieces, *self._exact_means.pieces]

    def float_layers(self) -> dict[str, Conv2D]:
        """The hyper networks' layers by name."""
        means = {f"means/{layer.name}": layer for layer in self.mean_synthesis.layers}
        return {**super().float_layers(), **means}
