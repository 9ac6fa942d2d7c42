"""Second decoder for the same files, with a variable trade-off of distortion and realism."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfc_models.layers import Conv2D, pad_to_multiple, part_of, rate_of_each
from tfc_models.models.base import STRIDE, CompressionModel
from tfc_models.realism.gated_residual import GatedResidual, latent_noise, openings


class RealismDecoder(tf.keras.Model):
    """Synthesis transform of a model with gated residual blocks between its layers.

    Realism β of each example, from 0 to 1, sets how much the blocks add. β = 0 is the
    reconstruction of the model itself, with the least distortion. β = 1 is the reconstruction that
    was trained with a critic. The latents and the files are the same for all β. After Agustsson,
    Minnen, Toderici, Mentzer, "Multi-Realism Image Compression with a Conditional Generator" (CVPR
    2023), but only the blocks are trained here; the synthesis is fixed.

    Blocks precede each convolution that upsamples, except the first one: the feature maps of the
    lowest resolution determine the content of an image, not its texture.

    Args:
        base: the model. Its weights are not part of this model and are not trained.
        blocks: numbers of blocks before each of these convolutions, from the lowest resolution on.
            The last number also applies to further convolutions.
        width: hidden channels of a block, as a share of its input channels.
        knots: values of realism above 0 at which gates are learned.
        noise: channels of noise that blocks read (see `latent_noise`).
    """

    def __init__(
        self,
        base: CompressionModel,
        blocks: Sequence[int] = (1, 3),
        width: float = 0.5,
        knots: int = 4,
        noise: int = 4,
    ) -> None:
        super().__init__(name=f"{base.name}-realism")
        if not blocks or min(blocks) < 0 or width <= 0.0 or knots < 1 or noise < 0:
            raise ValueError(
                "a realism decoder needs blocks of 0 or more, a width above 0, knots of 1 or more "
                f"and noise of 0 or more; got {blocks}, {width}, {knots} and {noise}."
            )
        # A function hides the model from Keras, which would train and save it with this one.
        self._base = lambda: base
        config = {"blocks": tuple(blocks), "width": width, "knots": knots, "noise": noise}
        self._config = tuple(config.items())
        self.knots, self.noise = knots, noise
        self.levels = base.levels if base.many_rates else 1
        self.rows: dict[str, list[GatedResidual]] = {}
        self._upsampling: dict[str, int] = {}
        halo, factor = 0.0, 1
        for layer in base.synthesis.layers:
            up = layer.up if isinstance(layer, Conv2D) else 1
            if up > 1 and factor > 1:
                maps = layer.inputs
                count = blocks[min(len(self.rows), len(blocks) - 1)]
                names = (f"{layer.name}_{i}" for i in range(count))
                hidden = max(1, round(width * maps))
                shape = maps, hidden, knots, self.levels, noise
                row = [GatedResidual(*shape, name=n) for n in names]
                for block in row:
                    block.build([None, None, None, maps])
                self.rows[layer.name], self._upsampling[layer.name] = row, factor
                halo += 2.0 * count / factor
            factor *= up
        # Keras tracks layers in lists, but not in lists within a dictionary.
        self.blocks = [block for row in self.rows.values() for block in row]
        if not self.rows:
            raise ValueError(
                f"{base.name} has no upsampling convolution after the first: a realism decoder "
                "has no place for its blocks."
            )
        self.halo = base.halo + math.ceil(halo)
        self.built = True

    @property
    def base(self) -> CompressionModel:
        """The model whose synthesis is extended."""
        return self._base()

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor without the model."""
        return dict(self._config)

    def to_images(
        self, latents: tf.Tensor, rate: tf.Tensor | float | None, realism: tf.Tensor | float
    ) -> tf.Tensor:
        """Returns reconstructions of latents: float32, 0 to 255, not clipped.

        Args:
            latents: quantized latents.
            rate: rate setting of each example, or one for all; None in models of one rate.
            realism: 0 to 1, of each example or one for all.
        """
        amount = tf.broadcast_to(tf.cast(realism, tf.float32), [tf.shape(latents)[0]])
        opening = openings(amount, rate_of_each(latents, rate), self.knots, self.levels)
        in_float32 = self.base.synthesis.multiply_in_float32

        def inserted(name: str, maps: tf.Tensor) -> tf.Tensor:
            noise = latent_noise(latents, self._upsampling[name], self.noise)
            for block in self.rows[name]:
                block.multiply_in_float32 = in_float32
                maps = block(maps, opening, noise)
            return maps

        before = {name: functools.partial(inserted, name) for name in self.rows}
        return self.base.to_images(latents, rate, before)

    def call(
        self,
        inputs: tf.Tensor,
        realism: tf.Tensor | float = 1.0,
        rate: tf.Tensor | float | None = None,
    ) -> tf.Tensor:
        """Returns reconstructions of images from their quantized latents."""
        shape = tf.shape(inputs)
        y = self.base.to_latents(pad_to_multiple(inputs, STRIDE), rate)
        y_hat, _ = self.base.coder(y, False, rate)
        return self.to_images(y_hat, rate, realism)[:, : shape[1], : shape[2]]

    def _named(self) -> dict[str, GatedResidual]:
        return {block.name: block for block in self.blocks}

    def state(self) -> dict[str, tf.Tensor]:
        """Returns the learned values by name, without those of the base model."""
        blocks = self._named().items()
        return {f"{n}/{k}": v for n, block in blocks for k, v in block.state().items()}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Sets the values that `state` returned."""
        expected = {k: tuple(v.shape) for k, v in self.state().items()}
        if expected != {k: tuple(v.shape) for k, v in state.items()}:
            raise ValueError(
                f"the weights do not fit {self.name}: their names or shapes differ from those of "
                f"{self.config}."
            )
        for name, block in self._named().items():
            block.assign_state(part_of(state, f"{name}/"))
