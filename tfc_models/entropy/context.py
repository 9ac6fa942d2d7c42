"""Contexts in space: a masked convolution reads the latents that were decoded before."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models.entropy.exact import (
    Integers,
    activation_integers,
    find_exponent,
)
from tfc_models.entropy.hyperprior import INDEX_ORIGIN, INDEX_STEP, SCALES
from tfc_models.entropy.reading import GainedReading, ReadingHyperprior
from tfc_models.layers import CompressionLayer, Conv2D, MaskedConv2D, part_of, tiled


class ContextHyperprior(ReadingHyperprior):
    """A hyperprior beside which latents are read that were decoded before.

    Here `hyper_synthesis` gives features. `context`, a masked convolution, reads the latents;
    `parameters`, 1×1 convolutions, make scale indexes and means of both. With `keeps_features`
    the last of them reads the features again beside what the one before it gives: with zeros
    there it is the hyperprior alone. With `marks_known` a further channel of what the context
    reads tells where latents are known.
    """

    keeps_features = False
    marks_known = False

    def __init__(self, *arguments: Any, context: MaskedConv2D, parameters: list[Conv2D]) -> None:
        super().__init__(*arguments)
        self.context, self.parameters = context, parameters
        self.latents = parameters[-1].filters // 2

    def learned_layers(self) -> list[CompressionLayer]:
        """Layers that hold every learned value."""
        return [*super().learned_layers(), self.context, *self.parameters]

    def _features(self, z_hat: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        """What z tells of every latent."""
        return self._features_of(self.hyper_synthesis, self.exact, z_hat, shape)

    def _from(
        self, features: tf.Tensor, near: tf.Tensor, rate: tf.Tensor | None, tiles: bool = True
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scale indexes and means, of features and of what the context gave.

        What it gave may be the same everywhere, and then has sides of 1. With `tiles` a frozen
        model goes through large pictures piece by piece.
        """
        if self.exact is None:
            index, mean = tf.split(self._heads_of(features, near), 2, axis=-1)
            return self._at_rate(index * INDEX_STEP + INDEX_ORIGIN, mean, rate)
        if not tiles:
            outputs = self._heads_of(features, near)
        else:
            out = tf.TensorSpec([None, None, 2 * self.latents], tf.float32)
            width, constant = features.shape[3], near.shape[1:3] == [1, 1]
            maps = features if constant else tf.concat([features, near], -1)
            outputs = tiled(
                lambda m: self._heads_of(m[..., :width], near if constant else m[..., width:]),
                *(maps, 1, 1, out),
                halo=0,
            )
        index, mean = self._at_rate(*tf.split(outputs, 2, axis=-1), rate)
        return tf.clip_by_value(index, 0, SCALES - 1), mean

    def _heads_of(self, features: tf.Tensor, near: tf.Tensor) -> tf.Tensor:
        """What the 1×1 convolutions give: in a frozen model indexes and means, float32."""
        if near.shape[1:3] == [1, 1]:
            near = tf.broadcast_to(near, tf.concat([tf.shape(features)[:3], near.shape[3:]], 0))
        maps = tf.concat([features, near], -1)
        for layer in self.parameters[:-1]:
            exact = self._readers.get(layer.name)
            maps = layer(maps) if exact is None else tf.cast(exact(maps), tf.float32)
        if self.keeps_features:
            maps = tf.concat([features, maps], -1)
        if self.exact is None:
            return tf.cast(self.parameters[-1](maps), tf.float32)
        network = self._readers[self.parameters[-1].name]
        return self._from_sums(network(maps), network)

    def _near(self, seen: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """What the context makes of latents to read."""
        if self.exact is None:
            return self.context(tf.cast(seen, dtype))
        return tf.cast(self._readers[self.context.name](seen), tf.float32)

    def _find_shifts(
        self, y: tf.Tensor, rate: tf.Tensor | None, representative: bool
    ) -> dict[str, np.ndarray]:
        shifts = super()._find_shifts(y, rate, representative)
        features = self._features(tf.round(self._hyper_latents(y, rate)), tf.shape(y)[1:3])
        seen, samples = self._samples(y, features, rate)
        shifts["seen"] = find_exponent([seen], self.activation_bits)
        of_features = shifts[f"activations{len(self.hyper_synthesis.layers) - 1}"]
        of_features = activation_integers(of_features, self.activation_bits)
        inputs = self._read_integers(shifts["seen"])
        for i, layer in enumerate([self.context, *self.parameters]):
            found = self._shifts_of([layer], samples, inputs)
            shifts.update({f"{layer.name}/{k}": v for k, v in found.items()})
            samples = [layer(sample) for sample in samples]
            inputs = activation_integers(found["activations0"], self.activation_bits)
            if self._reads_features(i + 1):
                samples = [tf.concat([features, sample], -1) for sample in samples]
                inputs = of_features.beside(inputs)
        return shifts

    def _samples(
        self, y: tf.Tensor, features: tf.Tensor, rate: tf.Tensor | None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Latents to read, and all inputs of the context that are to be expected with them."""
        del features
        seen = self._to_read(tf.round(y), rate)
        return seen, [seen]

    def _reads_features(self, i: int) -> bool:
        """Whether a layer (0: the context) reads the features beside what is before it."""
        return i == 1 or (self.keeps_features and i == len(self.parameters))

    def _read_integers(self, exponent: np.ndarray) -> Integers:
        integers = super()._read_integers(exponent)
        if not self.marks_known:
            return integers
        return integers.beside(Integers(np.zeros(1, np.int32), np.ones(1)))

    def _make_exact(self, shifts: dict[str, np.ndarray]) -> None:
        own = {k: v for k, v in shifts.items() if "/" not in k}
        self._seen = own.pop("seen")
        self.exact = self._exact_of(self.hyper_synthesis.layers, own, activated=True)
        inputs = self._read_integers(self._seen)
        for i, layer in enumerate([self.context, *self.parameters]):
            last = layer is self.parameters[-1]
            own = part_of(shifts, f"{layer.name}/")
            network = self._exact_of([layer], own, inputs, activated=not last)
            self._readers[layer.name], inputs = network, network.outputs
            if self._reads_features(i + 1):
                inputs = self.exact.outputs.beside(inputs)

    @property
    def heads(self) -> list[Conv2D]:
        """The layer that gives indexes and means."""
        return self.parameters[-1:]

    def float_layers(self) -> dict[str, Conv2D]:
        """The hyper networks' and the context's layers by name."""
        # The last one's name is that of the hyperprior without a context, which it extends.
        *inner, last = [self.context, *self.parameters]
        named = {f"context/{layer.name}": layer for layer in inner}
        return {**super().float_layers(), **named, f"synthesis/{last.name}": last}


class GainedContext(ContextHyperprior, GainedReading):
    """The same for latents at any rate."""
