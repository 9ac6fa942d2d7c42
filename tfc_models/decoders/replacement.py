"""Decoder with a synthesis transform of its own, for the files of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfc_models.decoders.widths import chain_of_widths, widths_of
from tfc_models.layers import pad_to_multiple, part_of
from tfc_models.models.base import STRIDE, CompressionModel


class ReplacementDecoder(tf.keras.Model):
    """Synthesis transform that replaces that of a model, with the same or fewer channels.

    Latents and files are those of the model, whose analysis and entropy model are not changed. The
    decoder starts with the weights of the model's synthesis if it has all of its channels.

    Args:
        base: the model. Its weights are not part of this model and are not trained.
        widths: numbers of channels by group (see `decoders.widths`); groups that are left out have
            all of their channels.
    """

    def __init__(self, base: CompressionModel, widths: Mapping[str, int] | None = None) -> None:
        super().__init__(name=f"{base.name}-decoder")
        # A function hides the model from Keras, which would train and save it with this one.
        self._base = lambda: base
        full = widths_of(base.synthesis)
        # Keras would replace a dictionary by a wrapper.
        self._widths = tuple({**full, **(widths or {})}.items())
        self.synthesis = chain_of_widths(base.synthesis, self.widths, base.latent_channels)
        if self.widths == full:
            state = base.plain_state if base.frozen else base.state()
            self.assign_state(part_of(state, "synthesis/"))
        self.halo = base.halo
        self.built = True

    @property
    def base(self) -> CompressionModel:
        """The model whose synthesis is replaced."""
        return self._base()

    @property
    def widths(self) -> dict[str, int]:
        """Number of channels of each group."""
        return dict(self._widths)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor without the model."""
        return {"widths": self.widths}

    def to_images(self, latents: tf.Tensor, rate: tf.Tensor | float | None = None) -> tf.Tensor:
        """Returns reconstructions of latents: float32, 0 to 255, not clipped.

        Args:
            latents: quantized latents.
            rate: rate setting of each example, or one for all; None in models of one rate.
        """
        self.synthesis.multiply_in_float32 = self.base.synthesis.multiply_in_float32
        return self.base.to_images(latents, rate, synthesis=self.synthesis)

    def call(self, inputs: tf.Tensor, rate: tf.Tensor | float | None = None) -> tf.Tensor:
        """Returns reconstructions of images from their quantized latents."""
        shape = tf.shape(inputs)
        y = self.base.to_latents(pad_to_multiple(inputs, STRIDE), rate)
        y_hat, _ = self.base.coder(y, False, rate)
        return self.to_images(y_hat, rate)[:, : shape[1], : shape[2]]

    def variable_groups(self) -> list[str]:
        """Returns the learning-rate group of each of `trainable_variables`."""
        return ["model"] * len(self.trainable_variables)

    def freeze(self) -> None:
        """Folds kernels for inference and stops training. Idempotent."""
        self.synthesis.freeze()
        self.trainable = False

    def state(self) -> dict[str, tf.Tensor]:
        """Returns the learned values by name, without those of the base model."""
        return self.synthesis.state()

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the values that `state` returned."""
        expected = {k: tuple(v.shape) for k, v in self.state().items()}
        if expected != {k: tuple(v.shape) for k, v in state.items()}:
            raise ValueError(
                f"the weights do not fit {self.name}: their names or shapes differ from those of "
                f"{self.config}."
            )
        self.synthesis.assign_state(state)
