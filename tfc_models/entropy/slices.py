"""Slices of channels and the networks that predict their latents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfc_models.entropy.networks import KNOWN, Input, Network, Networks
from tfc_models.entropy.order import Parallel
from tfc_models.entropy.parameters import (
    EntropyParameters,
    Outputs,
    indexes_per_latent,
    mean_of,
    outputs_per_latent,
    scale_index,
)
from tfc_models.layers import Chain, Conv2D, MaskedConv2D, tiled

CONSTANT = [1, 1]  # height and width of a context that is equal at all positions


class JointSlice:
    """Slice whose scale indexes and means come from one stack of 1×1 convolutions.

    ::

        features ──────────────────────────────┐
        ŷ of slices before ─ channel_context ──┼─ parameters ─ σ, μ
        ŷ of this slice ─ spatial_context ─────┘

    Args:
        parameters: 1×1 convolutions; the last has two outputs per channel.
        spatial_context: context in space, which reads the decoded latents of this slice.
        order: how the latents are visited; the mask of `spatial_context` corresponds to it.
        channel_context: context across channels, which reads the slices before.
        repeats_inputs: whether the last layer of `parameters` also reads the features directly,
            so that zero weights for the context give a hyperprior without context.
        marks_known: whether `spatial_context` also reads a mask of the decoded latents.
        components: number of Gaussians per latent; with more than one, the last layer has three
            outputs for each: for every latent scale indexes and then weight indexes, and after
            those of all latents the means.
    """

    def __init__(
        self,
        parameters: Sequence[Conv2D],
        spatial_context: MaskedConv2D | None = None,
        order: Parallel | None = None,
        channel_context: Chain | None = None,
        repeats_inputs: bool = False,
        marks_known: bool = False,
        components: int = 1,
    ) -> None:
        self.order = order or Parallel()
        if (spatial_context is None) != (type(self.order) is Parallel):
            raise ValueError("a slice has a context in space if its order is not parallel.")
        self.stack, self.spatial_context, self.channel_context = (
            list(parameters),
            spatial_context,
            channel_context,
        )
        self.repeats_inputs, self.marks_known = repeats_inputs, marks_known
        outputs = self.stack[-1].filters
        self.components = components
        self.channels = outputs // outputs_per_latent(components)
        self._indexes = self.channels * indexes_per_latent(components)
        if any(layer.size != 1 for layer in self.stack):
            raise ValueError("the parameters of a slice come from 1×1 convolutions.")
        if spatial_context is not None:
            if not np.array_equal(spatial_context.mask, self.order.mask(spatial_context.size)):
                raise ValueError("the mask of a context must be that of its order.")
            if marks_known and self.order.sequential:
                raise ValueError("a raster order has no mask of decoded latents to mark.")

    @property
    def heads(self) -> list[Conv2D]:
        """The layer whose outputs are indexes and means."""
        return self.stack[-1:]

    @property
    def scale_head(self) -> Conv2D:
        """The layer whose outputs are scale indexes."""
        return self.stack[-1]

    def context_inputs(self, features: int) -> list[tuple[Conv2D, int]]:
        """Returns the layers that read a context, with the number of their last such inputs."""
        context = [
            layer.filters
            for layer in (self.channel_context, self.spatial_context)
            if layer is not None
        ]
        return [(self.stack[0], sum(filter(None, context)))] if context else []

    def networks(
        self, prefix: str, features: list[Input], before: list[Input], own: Input
    ) -> list[Network]:
        """Returns the networks; names begin with a prefix, which is empty for a single slice."""
        self._prefix = prefix
        networks = []

        def add(layers: Chain | Conv2D, inputs: list[Input], stored: str) -> Input:
            chain = layers if isinstance(layers, Chain) else Chain([layers], name=layers.name)
            network = Network(
                f"{prefix}{layers.name}",
                chain,
                tuple(inputs),
                hidden=layers is not self.stack[-1],
                windowed=layers is self.spatial_context,
                stored_as=None if prefix else stored,
            )
            networks.append(network)
            return Input(network.name)

        inputs = list(features)
        if self.channel_context is not None:
            if not before:
                raise ValueError(
                    "the first slice has no slices before: it takes channel_context=None."
                )
            inputs.append(add(self.channel_context, before, ""))
        context = []
        if self.spatial_context is not None:
            mask = [Input(KNOWN)] if self.marks_known else []
            context = [add(self.spatial_context, [own, *mask], "context")]
        last = context
        for layer in self.stack[:-1]:
            first = layer is self.stack[0]
            last = [add(layer, [*inputs, *last] if first else last, "context")]
        again = inputs if self.repeats_inputs or len(self.stack) == 1 else []
        add(self.stack[-1], [*again, *last], "synthesis")
        return networks

    def inputs(
        self, networks: Networks, features: list[tf.Tensor], before: list[tf.Tensor]
    ) -> tf.Tensor:
        """Returns maps that `parameters` reads beside the context in space.

        Args:
            networks: evaluates the networks.
            features: of hyper-latents.
            before: decoded latents of slices before, as networks read them.
        """
        if self.channel_context is not None:
            channel_context = networks.evaluate(
                f"{self._prefix}{self.channel_context.name}", *before
            )
            features = [*features, tf.cast(channel_context, features[0].dtype)]
        return features[0] if len(features) == 1 else tf.concat(features, -1)

    def parameters(
        self,
        networks: Networks,
        inputs: tf.Tensor,
        decoded: tf.Tensor | None,
        known: tf.Tensor | None,
        index_bits: int,
        group: int | None = None,
    ) -> EntropyParameters:
        """Returns scale indexes and means before they are adapted to a rate.

        Args:
            networks: evaluates the networks.
            inputs: result of `inputs`.
            decoded: decoded latents of this slice, as networks read them; None: none.
            known: mask of `decoded`.
            index_bits: bits behind the binary point of exact indexes.
            group: index of the order's group whose parameters are needed; exact parameters of
                other latents are then 0. None: all.
        """
        if networks.frozen and group is not None:
            return self._halves(self._of_group(networks, inputs, decoded, known, index_bits, group))
        spatial_context = (
            None
            if self.spatial_context is None
            else self._spatial_features(networks, decoded, known)
        )
        if not networks.frozen:
            outputs = self._outputs(networks, inputs, spatial_context)
            index, mean = outputs.split(self._indexes)
            return EntropyParameters(scale_index(index), mean_of(mean))
        # In tiles, so that hidden layers of the stack take little memory.
        out = tf.TensorSpec([None, None, self.stack[-1].filters], tf.float32)
        constant = spatial_context is None or spatial_context.shape[1:3] == CONSTANT
        width = inputs.shape[3]
        maps = inputs if constant else tf.concat([inputs, spatial_context], -1)

        def predict(maps: tf.Tensor) -> tf.Tensor:
            context = spatial_context if constant else maps[..., width:]
            return self._exact_parameters(networks, maps[..., :width], context, index_bits)

        return self._halves(tiled(predict, maps, 1, 1, out, halo=0))

    def _of_group(
        self,
        networks: Networks,
        inputs: tf.Tensor,
        decoded: tf.Tensor | None,
        known: tf.Tensor | None,
        index_bits: int,
        group: int,
    ) -> tf.Tensor:
        """Returns maps of exact parameters of one of the order's groups, zeros elsewhere."""
        assert self.spatial_context is not None
        reach = self.spatial_context.size // 2
        taps = np.argwhere(self.spatial_context.mask)
        width = inputs.shape[3]
        maps, halo = inputs, 0
        if decoded is not None:
            maps = tf.concat([inputs, *self._context_inputs(decoded, known)], -1)
            halo = reach + reach % 2  # Even, so that tiles have the same groups as the whole.
        window_channels = len(taps) * (self.channels + self.marks_known)

        def predict(maps: tf.Tensor) -> tf.Tensor:
            shape = tf.shape(maps)[1:3]
            here = self.order.groups(shape)[group]
            rows = here.take(maps[..., :width])[:, :, None]
            windows = tf.zeros([1, 1, 1, window_channels])
            if decoded is not None:
                ends = [reach, reach]
                padded = tf.pad(maps[..., width:], [[0, 0], ends, ends, [0, 0]])
                shifted = [padded[:, y : y + shape[0], x : x + shape[1]] for y, x in taps]
                windows = tf.concat([here.take(m) for m in shifted], -1)[:, :, None]
            context = networks.evaluate_windows(self._spatial_name, windows)
            exact = self._exact_parameters(networks, rows, context, index_bits)
            return here.put(exact[:, :, 0], shape)

        out = tf.TensorSpec([None, None, self.stack[-1].filters], tf.float32)
        return tiled(predict, maps, 1, 1, out, halo=halo)

    def window_parameters(
        self, networks: Networks, inputs: tf.Tensor, windows: tf.Tensor, index_bits: int
    ) -> EntropyParameters:
        """Returns exact parameters at some positions, given the windows of their contexts."""
        spatial_context = networks.evaluate_windows(self._spatial_name, windows)
        exact = self._exact_parameters(networks, inputs, spatial_context, index_bits)
        return self._halves(exact)

    def _halves(self, maps: tf.Tensor) -> EntropyParameters:
        return EntropyParameters(maps[..., : self._indexes], maps[..., self._indexes :])

    def _exact_parameters(
        self,
        networks: Networks,
        inputs: tf.Tensor,
        spatial_context: tf.Tensor | None,
        index_bits: int,
    ) -> tf.Tensor:
        index, mean = self._outputs(networks, inputs, spatial_context).split(self._indexes)
        return tf.concat([scale_index(index, index_bits), mean_of(mean)], -1)

    def _outputs(
        self, networks: Networks, inputs: tf.Tensor, spatial_context: tf.Tensor | None
    ) -> Outputs:
        maps = [inputs]
        if spatial_context is not None:
            if spatial_context.shape[1:3] == CONSTANT:
                shape = tf.concat([tf.shape(inputs)[:3], spatial_context.shape[3:]], 0)
                spatial_context = tf.broadcast_to(spatial_context, shape)
            maps.append(spatial_context)
        for layer in self.stack[:-1]:
            maps = [networks.evaluate(f"{self._prefix}{layer.name}", *maps)]
            if self.repeats_inputs and layer is self.stack[-2]:
                maps = [inputs, *maps]
        return networks.predict(f"{self._prefix}{self.stack[-1].name}", *maps)

    def _spatial_features(
        self, networks: Networks, decoded: tf.Tensor | None, known: tf.Tensor | None
    ) -> tf.Tensor:
        """Returns the context in space; with sides of 1 if nothing is decoded."""
        if decoded is None:
            decoded, known = tf.zeros([1, 1, 1, self.channels]), tf.zeros([1, 1, 1, 1])
        return networks.evaluate(self._spatial_name, *self._context_inputs(decoded, known))

    def _context_inputs(self, decoded: tf.Tensor, known: tf.Tensor | None) -> list[tf.Tensor]:
        """Returns the maps that the context in space reads."""
        if not self.marks_known:
            return [decoded]
        known = tf.broadcast_to(known, tf.concat([tf.shape(decoded)[:3], [1]], 0))
        return [decoded, known]

    @property
    def _spatial_name(self) -> str:
        assert self.spatial_context is not None
        return f"{self._prefix}{self.spatial_context.name}"


class SeparateSlice:
    """Slice with networks of their own for means, scales and the correction of rounding.

    Minnen, Singh, "Channel-wise Autoregressive Entropy Models for Learned Image Compression"
    (ICIP 2020). The correction, the paper's latent residual prediction, moves decoded latents by
    half a step at most. Means and corrections read the first features, scales the last. All read
    the slices before; corrections also read this slice.

    Args:
        mean: network for means.
        scale: network for scale indexes.
        correction: network for the correction.
    """

    components = 1

    def __init__(self, mean: Chain, scale: Chain, correction: Chain) -> None:
        self.order = Parallel()
        self.chains = {"mean": mean, "scale": scale, "correction": correction}
        assert mean.filters is not None, "a chain of convolutions"
        self.channels = mean.filters

    @property
    def heads(self) -> list[Conv2D]:
        """The layers whose outputs are indexes, means and corrections."""
        return [chain.layers[-1] for chain in self.chains.values()]

    @property
    def scale_head(self) -> Conv2D:
        """The layer whose outputs are scale indexes."""
        return self.chains["scale"].layers[-1]

    def context_inputs(self, features: int) -> list[tuple[Conv2D, int]]:
        """Returns the layers that read a context, with the number of their last such inputs."""
        first = [chain.layers[0] for chain in self.chains.values()]
        return [(layer, layer.kernel.shape[2] - features) for layer in first]

    def networks(
        self, prefix: str, features: list[Input], before: list[Input], own: Input
    ) -> list[Network]:
        """Returns the networks; names begin with a prefix."""
        self._prefix = prefix
        inputs = {
            "mean": [features[0], *before],
            "scale": [features[-1], *before],
            "correction": [features[0], *before, own],
        }
        return [
            Network(f"{prefix}{name}", chain, tuple(inputs[name]), first_input_finer=True)
            for name, chain in self.chains.items()
        ]

    def inputs(
        self, networks: Networks, features: list[tf.Tensor], before: list[tf.Tensor]
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns features and slices before."""
        return features, before

    def parameters(
        self,
        networks: Networks,
        inputs: tuple[list[tf.Tensor], list[tf.Tensor]],
        decoded: tf.Tensor | None,
        known: tf.Tensor | None,
        index_bits: int,
        group: int | None = None,
    ) -> EntropyParameters:
        """See `JointSlice`."""
        features, before = inputs
        scale = networks.predict(f"{self._prefix}scale", features[-1], *before)
        mean = networks.predict(f"{self._prefix}mean", features[0], *before)
        return EntropyParameters(scale_index(scale, index_bits), mean_of(mean))

    def correction_of(
        self,
        networks: Networks,
        features: list[tf.Tensor],
        before: list[tf.Tensor],
        decoded: tf.Tensor,
    ) -> Outputs:
        """Returns outputs that corrections are made of, given the decoded latents of this slice."""
        return networks.predict(f"{self._prefix}correction", features[0], *before, decoded)
