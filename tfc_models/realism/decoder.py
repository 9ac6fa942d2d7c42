"""Another decoder for the same files: as faithful as a model's own, or sharper."""

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
    """The synthesis of a model, with gated blocks in between that add what people miss.

    How far the gates are open is the realism, 0 to 1, of each example: at 0 the pictures are
    the model's own, at 1 what was trained to look real rather than to be near. The latents,
    and with them the files, are the same. After Agustsson, Minnen, Toderici, Mentzer,
    "Multi-Realism Image Compression with a Conditional Generator" (CVPR 2023); only what is
    added to the synthesis is learned here.

    The blocks stand before each convolution that doubles (or more) the resolution but the
    first: the coarsest maps hold what is seen, not how it looks.

    Args:
        base: the model; it is not part of this one's weights, and does not train.
        blocks: how many, at each of these places from the coarsest on (the last number counts
            for those beyond).
        width: hidden maps of a block, of those that it reads.
        knots: amounts of realism above 0 at which gates are learned.
        noise: channels of noise that blocks see (see `latent_noise`).
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
            raise ValueError("a realism decoder has blocks, a width above 0, knots, and noise.")
        # A function, so that the model is no part of this one: neither trained nor saved with it.
        self._base = lambda: base
        config = {"blocks": tuple(blocks), "width": width, "knots": knots, "noise": noise}
        self._config = tuple(config.items())
        self.knots, self.noise = knots, noise
        self.levels = base.levels if base.many_rates else 1
        self.rows: dict[str, list[GatedResidual]] = {}
        self._finer: dict[str, int] = {}
        reach, finer = 0.0, 1
        for layer in base.synthesis.layers:
            up = layer.up if isinstance(layer, Conv2D) else 1
            if up > 1 and finer > 1:
                maps = layer.inputs
                count = blocks[min(len(self.rows), len(blocks) - 1)]
                names = (f"{layer.name}_{i}" for i in range(count))
                hidden = max(1, round(width * maps))
                shape = maps, hidden, knots, self.levels, noise
                row = [GatedResidual(*shape, name=n) for n in names]
                for block in row:
                    block.build([None, None, None, maps])
                self.rows[layer.name], self._finer[layer.name] = row, finer
                reach += 2.0 * count / finer
            finer *= up
        # Keras finds layers in lists, and none in lists within a dictionary.
        self.blocks = [block for row in self.rows.values() for block in row]
        if not self.rows:
            raise ValueError(f"{base.name} has no maps between its latents and its pictures.")
        self.halo = base.halo + math.ceil(reach)
        self.built = True

    @property
    def base(self) -> CompressionModel:
        """The model whose synthesis it is."""
        return self._base()

    @property
    def config(self) -> dict[str, Any]:
        """The arguments beside the model."""
        return dict(self._config)

    def to_images(
        self, latents: tf.Tensor, rate: tf.Tensor | float | None, realism: tf.Tensor | float
    ) -> tf.Tensor:
        """Pictures, float32 around 0–255 and unclipped; rate and realism of each, or of all."""
        amount = tf.broadcast_to(tf.cast(realism, tf.float32), [tf.shape(latents)[0]])
        opening = openings(amount, rate_of_each(latents, rate), self.knots, self.levels)
        in_float32 = self.base.synthesis.multiply_in_float32

        def inserted(name: str, maps: tf.Tensor) -> tf.Tensor:
            noise = latent_noise(latents, self._finer[name], self.noise)
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
        """Codes pictures with the base, quantized, and decodes them."""
        shape = tf.shape(inputs)
        y = self.base.to_latents(pad_to_multiple(inputs, STRIDE), rate)
        y_hat, _ = self.base.coder(y, False, rate)
        return self.to_images(y_hat, rate, realism)[:, : shape[1], : shape[2]]

    def _named(self) -> dict[str, GatedResidual]:
        return {block.name: block for block in self.blocks}

    def state(self) -> dict[str, tf.Tensor]:
        """Every learned value by name; the base's are not among them."""
        blocks = self._named().items()
        return {f"{n}/{k}": v for n, block in blocks for k, v in block.state().items()}

    def assign_state(self, state: dict[str, Any]) -> None:
        """Takes the values that `state` gave."""
        ours = {k: tuple(v.shape) for k, v in self.state().items()}
        if ours != {k: tuple(v.shape) for k, v in state.items()}:
            raise ValueError(f"the weights are not those of a {self.name} of this shape.")
        for name, block in self._named().items():
            block.assign_state(part_of(state, f"{name}/"))
