"""Critics: networks that tell real pictures from those that a decoder made.

They give a number for every patch, to be put into a divergence's bound (see `divergences`).
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfc_models.perceptual.beliefs import LOG_TAU, Belief, BeliefModel

SLOPE = 0.2  # of leaky ReLUs below 0
FIRST_ROUNDS = 8  # of power iteration, before whose first the gain of a layer is unknown
CONDITION = 12  # maps that the latents become


class SpectralConv2D(tf.keras.layers.Conv2D):
    """A convolution whose kernel, as a matrix of inputs by outputs, has a largest gain of 1.

    Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for Generative Adversarial Networks"
    (ICLR 2018): the gain is found by power iteration, a round a step of training, and divided by;
    gradients know of it.
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        super().build(input_shape)
        start = tf.random_normal_initializer()
        self.direction = self.add_weight(
            "direction", [1, self.filters], initializer=start, trainable=False
        )
        for _ in range(FIRST_ROUNDS if tf.executing_eagerly() else 0):
            self._round()

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if training:
            self._round()
        return super().call(inputs)

    def _round(self) -> None:
        matrix = self._matrix()
        inner = tf.math.l2_normalize(tf.matmul(self.direction, matrix, transpose_b=True))
        outer = tf.math.l2_normalize(tf.matmul(inner, matrix))
        self.direction.assign(tf.stop_gradient(outer))

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Keras' own, with the kernel over its gain."""
        return super().convolution_op(inputs, kernel / self._gain())

    def _matrix(self) -> tf.Tensor:
        return tf.reshape(self.kernel, [-1, self.filters])

    def _gain(self) -> tf.Tensor:
        matrix, outer = self._matrix(), tf.stop_gradient(self.direction)
        inner = tf.math.l2_normalize(tf.matmul(outer, matrix, transpose_b=True))
        gain = tf.reduce_sum(tf.matmul(tf.stop_gradient(inner), matrix) * outer)
        return tf.maximum(gain, 1e-12)


class PatchCritic(tf.keras.Model):
    """A number for every patch of a picture, given the latents that it was decoded from.

    That of Mentzer, Toderici, Tschannen, Agustsson, "High-Fidelity Generative Image Compression"
    (NeurIPS 2020)::

        latents ─ 3×3 ─ ↑ ─┐
        picture ───────────┴─ 4×4 ↓2 ─ 4×4 ↓2 ─ 4×4 ↓2 ─ 4×4 ─ 4×4 ─ numbers

    No gradient reaches the latents. They are seen through asinh: of a model of many rates they
    may be in the tens, and would drown the picture (as they are, a critic was at chance after 160
    steps, where this one was right in 78 of 100 places).

    Args:
        widths: of the layers before the last; all but the last of them halve the resolution.
        conditional: whether latents are read.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512),
        conditional: bool = True,
        name: str = "patch_critic",
    ) -> None:
        super().__init__(name=name)
        if not widths:
            raise ValueError("a critic has a layer or more before its last one.")
        self.of_latents = SpectralConv2D(CONDITION, 3, padding="same") if conditional else None
        steps = [2] * (len(widths) - 1) + [1]
        self.hidden = [
            SpectralConv2D(width, 4, step, padding="same") for width, step in zip(widths, steps)
        ]
        self.last = SpectralConv2D(1, 4, padding="same")

    def call(
        self, pictures: tf.Tensor, latents: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """Pictures are sRGB 0–255 NHWC; the numbers are N × height × width."""
        if (latents is None) != (self.of_latents is None):
            word = "a conditional critic reads" if self.of_latents else "this critic does not read"
            raise ValueError(f"{word} latents.")
        maps = tf.cast(pictures, tf.float32) / 127.5 - 1.0
        if self.of_latents is not None:
            seen = tf.asinh(tf.stop_gradient(latents))
            seen = self.of_latents(seen, training=training)
            seen = tf.nn.leaky_relu(seen, SLOPE)
            maps = tf.concat([maps, _as_large(seen, tf.shape(maps)[1:3])], axis=-1)
        for layer in self.hidden:
            maps = tf.nn.leaky_relu(layer(maps, training=training), SLOPE)
        return self.last(maps, training=training)[..., 0]


class BeliefCritic(tf.keras.Model):
    """A number for every place of every band, given the distribution q(z|x) of a picture.

    The networks read the distribution, not its parameters: the mean of the mixture, and its log
    density at learned points around the mean. Both stay the same when components are permuted,
    split or merged. The encoder itself is not trained.

    Args:
        encoder: `Pim` or `PimBands`.
        hidden: units of each of two layers, for every band.
        points: learned points for every band. They are left out for single Gaussians, which
            their mean determines.
    """

    def __init__(
        self, encoder: BeliefModel, hidden: int = 32, points: int = 8, name: str = "belief_critic"
    ) -> None:
        super().__init__(name=name)
        # A function, so that the encoder is no part of the critic: neither trained nor saved.
        self._beliefs = lambda pictures: encoder.alone(encoder.features(pictures))
        settings = encoder.settings
        self.bands = [
            [SpectralConv2D(units, 1) for units in (hidden, hidden, 1)]
            for _ in range(encoder.band_count)
        ]
        self.points: list[tf.Variable] = []
        if settings.components > 1:
            draw = tf.random_normal_initializer(stddev=1.0)
            self.points = [
                self.add_weight(f"points_{band}", [points, settings.dimensions], initializer=draw)
                for band in range(encoder.band_count)
            ]

    def call(self, pictures: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Pictures are sRGB 0–255 NHWC; the numbers, N × places of all bands."""
        return self.of(self._beliefs(pictures), training)

    def of(self, beliefs: list[Belief], training: bool = False) -> tf.Tensor:
        """The numbers for distributions, one for each band."""
        numbers = []
        for band, ((*hidden, last), belief) in enumerate(zip(self.bands, beliefs)):
            maps = belief.mean()
            if self.points:
                maps = tf.concat([maps, _beyond_mean(belief, self.points[band])], axis=-1)
            for layer in hidden:
                maps = tf.nn.leaky_relu(layer(maps, training=training), SLOPE)
            found = last(maps, training=training)
            numbers.append(tf.reshape(found, [tf.shape(found)[0], -1]))
        return tf.concat(numbers, axis=-1)


def _beyond_mean(belief: Belief, points: tf.Tensor) -> tf.Tensor:
    """Log densities of mixtures at their mean plus each point, relative to a Gaussian there."""
    mean, constant = belief.mean(), LOG_TAU * points.shape[-1]
    found = [
        belief.log_density(mean + point) + 0.5 * (tf.reduce_sum(tf.square(point)) + constant)
        for point in tf.unstack(points)
    ]
    return tf.stack(found, axis=-1)


def _as_large(maps: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Each number of the maps for as many pixels as it stands for."""
    times = -(-size // tf.shape(maps)[1:3])
    maps = tf.repeat(tf.repeat(maps, times[0], axis=1), times[1], axis=2)
    return maps[:, : size[0], : size[1]]
