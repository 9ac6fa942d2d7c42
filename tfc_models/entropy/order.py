"""Decoding orders: which latents of a slice are decoded together, and which after others.

An order visits the latents of one slice of channels. Slices follow one another (see
`tfc_models.entropy.context`), so that any order can be nested in slices.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import tensorflow as tf

from tfc_models.entropy.parameters import ALL_CHANNELS, EntropyParameters
from tfc_models.entropy.range_coding import State
from tfc_models.layers import checkerboard_mask, raster_mask

UNKNOWN = EntropyParameters(None, None)


class Group(NamedTuple):
    """Latents that are coded one after another in a string.

    Attributes:
        channels: a slice of channels.
        positions: places in the maps, counted row by row; None: all.
        mask: maps that are 1 at the positions, and 0 elsewhere.
        ends: where parts begin that are decoded at once, and the end of the last; None: one part.
    """

    channels: slice
    positions: tf.Tensor | None = None
    mask: tf.Tensor | None = None
    ends: tf.Tensor | None = None

    def take(self, maps: tf.Tensor) -> tf.Tensor:
        """Returns examples × positions × channels, given maps of the group's channels."""
        rows = tf.reshape(maps, [tf.shape(maps)[0], -1, maps.shape[3]])
        return rows if self.positions is None else tf.gather(rows, self.positions, axis=1)

    def put(self, values: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        """Returns maps of a height and width with values at the positions, zeros elsewhere."""
        if self.positions is not None:
            values = tf.transpose(values, [1, 0, 2])
            full = [shape[0] * shape[1], tf.shape(values)[1], values.shape[2]]
            values = tf.scatter_nd(self.positions[:, None], values, full)
            values = tf.transpose(values, [1, 0, 2])
        return tf.reshape(values, [tf.shape(values)[0], shape[0], shape[1], values.shape[2]])


class Latents(Protocol):
    """Source of latents, group by group: those of an encoder, or read from strings."""

    @property
    def from_strings(self) -> bool:
        """Whether latents are read from strings, by a `LatentReader`."""

    def __call__(self, group: Group, params: EntropyParameters) -> tf.Tensor:
        """Returns maps of a group's latents, given their parameters; zeros elsewhere."""


class LatentReader(Latents, Protocol):
    """Latents that are read from strings, with the state of the range decoder."""

    state: State | None

    def started(self, after: tf.Tensor) -> State:
        """Returns the state of the range decoder, started after a tensor is computed."""

    def read(self, state: State, params: EntropyParameters) -> tuple[State, tf.Tensor]:
        """Returns the new state and the next latents, given their parameters."""


class VisitedSlice(Protocol):
    """Slice of channels with the context networks that predict its latents."""

    @property
    def shape(self) -> tf.Tensor:
        """Height and width of the latents."""

    @property
    def channels(self) -> slice:
        """The slice of channels."""

    @property
    def width(self) -> int:
        """Number of channels."""

    def parameters(
        self,
        decoded: tf.Tensor | None = None,
        known: tf.Tensor | None = None,
        group: int | None = None,
    ) -> EntropyParameters:
        """Returns parameters of latents, given those that are decoded and a mask of them.

        Only those of one of the order's groups are needed if its index is given.
        """

    def context_free_inputs(self) -> tf.Tensor:
        """Returns maps that the parameter networks read beside the context in space."""

    def front_parameters(self, inputs: tf.Tensor, windows: tf.Tensor) -> EntropyParameters:
        """Returns parameters at some positions, given the windows that their context reads."""

    def normalized(self, y_hat: tf.Tensor) -> tf.Tensor:
        """Returns decoded latents as networks read them."""


class Parallel:
    """All latents of a slice at once."""

    sequential = False

    @staticmethod
    def mask(size: int) -> np.ndarray:
        """Returns the taps of a context's kernel that read decoded latents, by its size."""
        return np.zeros([size, size], np.float32)

    def groups(self, shape: tf.Tensor, channels: slice = ALL_CHANNELS) -> list[Group]:
        """Returns the groups in the order of coding."""
        return [Group(channels)]

    def visit(self, part: VisitedSlice, latents: Latents) -> tuple[EntropyParameters, tf.Tensor]:
        """Returns the parameters of a slice's latents, and the latents."""
        params = part.parameters()
        return params, latents(Group(part.channels), params)


class Checkerboard(Parallel):
    """Half of the positions, then the other half, which may read the first.

    He, Zheng, Sun, Wang, Qin, "Checkerboard Context Model for Efficient Learned Image
    Compression" (CVPR 2021): two passes in place of one step per latent.
    """

    mask = staticmethod(checkerboard_mask)

    def groups(self, shape: tf.Tensor, channels: slice = ALL_CHANNELS) -> list[Group]:
        """See the base class."""
        y, x = tf.range(shape[0])[:, None], tf.range(shape[1])[None]
        second = (y + x) % 2
        order = tf.argsort(tf.reshape(second, [-1]), stable=True)
        count = tf.size(order) - tf.reduce_sum(second)
        second = tf.cast(second, tf.float32)[None, :, :, None]
        return [
            Group(channels, order[:count], 1.0 - second),
            Group(channels, order[count:], second),
        ]

    def visit(self, part: VisitedSlice, latents: Latents) -> tuple[EntropyParameters, tf.Tensor]:
        """See the base class."""
        first, second = self.groups(part.shape, part.channels)
        early = part.parameters(group=0)
        decoded = latents(first, early)
        late = part.parameters(decoded, first.mask, group=1)
        decoded += latents(second, late)
        # Sums of a value and zero are exact.
        assert early.mean is not None and late.mean is not None, "contexts predict means"
        index = first.mask * early.index + second.mask * late.index
        mean = first.mask * early.mean + second.mask * late.mean
        return EntropyParameters(index, mean), decoded


class Raster(Parallel):
    """Every latent after those above it and to its left, which its context reads.

    The encoder knows all latents, and computes all parameters at once; latents must therefore
    not depend on the parameters (`Rounding(around_means=False)`). The decoder goes by wavefront:
    with a context of r rows and columns, latents with equal x + (r + 1)·y do not depend on one
    another and are decoded together.
    """

    sequential = True
    mask = staticmethod(raster_mask)

    def __init__(self, size: int) -> None:
        self.reach = size // 2
        self._taps = np.argwhere(raster_mask(size)) - self.reach

    def groups(self, shape: tf.Tensor, channels: slice = ALL_CHANNELS) -> list[Group]:
        """See the base class."""
        order, ends = wavefronts(shape, self.reach)
        return [Group(channels, order, ends=ends)]

    def visit(self, part: VisitedSlice, latents: Latents) -> tuple[EntropyParameters, tf.Tensor]:
        """See the base class; the parameters are missing for latents read from strings."""
        if latents.from_strings:
            return UNKNOWN, self._decode(part, cast(LatentReader, latents))
        decoded = latents(Group(part.channels), UNKNOWN)
        return part.parameters(decoded), decoded

    def _decode(self, part: VisitedSlice, latents: LatentReader) -> tf.Tensor:
        reach, shape = self.reach, part.shape
        order, ends = wavefronts(shape, reach)
        features = Group(ALL_CHANNELS, order).take(part.context_free_inputs())
        batch, channels = tf.shape(features)[0], part.width
        # A context reads earlier fronts: each a column of all rows, zeros above.
        depth = reach + (reach + 1) * reach
        places = [(depth + int(x) + (reach + 1) * int(y), int(y) + reach) for y, x in self._taps]

        def step(
            i: tf.Tensor, state: State, fronts: list[tf.Tensor], decoded: tf.TensorArray
        ) -> Any:
            here = slice(ends[i], ends[i + 1])
            count = ends[i + 1] - ends[i]
            top = tf.maximum((i - shape[1]) // (reach + 1) + 1, 0)
            window = [fronts[j][:, top + down : top + down + count] for j, down in places]
            params = part.front_parameters(
                features[:, here, None], tf.concat(window, -1)[:, :, None]
            )
            state, y_hat = latents.read(state, params)
            to_read = part.normalized(y_hat)[:, :, 0]
            front = tf.pad(to_read, [[0, 0], [reach + top, shape[0] - top - count], [0, 0]])
            decoded = decoded.write(i, tf.transpose(y_hat[:, :, 0], [1, 0, 2]))
            return i + 1, state, [*fronts[1:], front], decoded

        steps = tf.size(ends) - 1
        nothing = tf.zeros([batch, reach + shape[0], channels])
        decoded = tf.TensorArray(
            tf.float32, steps, infer_shape=False, element_shape=[None, None, channels]
        )
        _, latents.state, _, decoded = tf.while_loop(
            lambda i, *_: i < steps,
            step,
            (0, latents.started(features), [nothing] * depth, decoded),
            parallel_iterations=1,
        )
        decoded = tf.gather(decoded.concat(), tf.math.invert_permutation(order))
        decoded = tf.transpose(decoded, [1, 0, 2])
        return tf.reshape(decoded, [batch, shape[0], shape[1], channels])


def wavefronts(shape: tf.Tensor, reach: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns positions in the order of decoding, and where each wavefront begins.

    The latter has one more entry, for the end of the last front.
    """
    y, x = tf.range(shape[0])[:, None], tf.range(shape[1])[None]
    front = tf.reshape(x + (reach + 1) * y, [-1])
    # Some fronts of narrow images are empty.
    sizes = tf.math.bincount(front)
    return tf.argsort(front, stable=True), tf.concat([[0], tf.cumsum(sizes)], 0)
