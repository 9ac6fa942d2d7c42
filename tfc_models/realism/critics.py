"""Critics: networks that distinguish real images from decoded ones.

They return a number per patch, for the bound of a divergence (see `divergences`).
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfc_models.perceptual.beliefs import LOG_TAU, Belief, BeliefModel

SLOPE = 0.2  # slope of leaky ReLUs below 0
FIRST_ROUNDS = 8  # power iterations at the start, when the norm is unknown
CONDITION = 12  # channels of the layer that reads the latents


class SpectralConv2D(tf.keras.layers.Conv2D):
    """Convolution whose kernel, as a matrix of inputs by outputs, has spectral norm 1.

    Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for Generative Adversarial Networks"
    (ICLR 2018). The norm is estimated by power iteration, one step per training step. The kernel is
    divided by it. Gradients pass through the division. (`tf.keras.layers.SpectralNormalization` of
    Keras 2.14 overwrites the kernel instead, so that gradients ignore the division.)
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the kernel and the vector of the power iteration."""
        super().build(input_shape)
        start = tf.random_normal_initializer()
        self.direction = self.add_weight(
            "direction", [1, self.filters], initializer=start, trainable=False
        )
        for _ in range(FIRST_ROUNDS if tf.executing_eagerly() else 0):
            self._round()

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Convolves maps; `training` also updates the estimate of the norm."""
        if training:
            self._round()
        return super().call(inputs)

    def _round(self) -> None:
        matrix = self._matrix()
        inner = tf.math.l2_normalize(tf.matmul(self.direction, matrix, transpose_b=True))
        outer = tf.math.l2_normalize(tf.matmul(inner, matrix))
        self.direction.assign(tf.stop_gradient(outer))

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Convolves with the normalized kernel."""
        return super().convolution_op(inputs, kernel / self._gain())

    def _matrix(self) -> tf.Tensor:
        return tf.reshape(self.kernel, [-1, self.filters])

    def _gain(self) -> tf.Tensor:
        matrix, outer = self._matrix(), tf.stop_gradient(self.direction)
        inner = tf.math.l2_normalize(tf.matmul(outer, matrix, transpose_b=True))
        gain = tf.reduce_sum(tf.matmul(tf.stop_gradient(inner), matrix) * outer)
        return tf.maximum(gain, 1e-12)


class PatchCritic(tf.keras.Model):
    """Critic with a number per patch of an image, given its latents.

    The architecture is that of Mentzer, Toderici, Tschannen, Agustsson, "High-Fidelity Generative
    Image Compression" (NeurIPS 2020)::

        latents ─ 3×3 ─ ↑ ─┐
        image ─────────────┴─ 4×4 ↓2 ─ 4×4 ↓2 ─ 4×4 ↓2 ─ 4×4 ─ 4×4 ─ numbers

    No gradient reaches the latents. They pass through asinh: in a model of many rates they may be
    in the tens and dominate the image. Without asinh a critic was at chance after 160 steps; with
    it, it was right for 78 % of the positions.

    Args:
        widths: channels of the layers before the last; all but the last of them halve the
            resolution.
        conditional: whether the critic reads latents.
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
        self, images: tf.Tensor, latents: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """Returns N × height × width numbers for NHWC images, sRGB 0 to 255."""
        if (latents is None) != (self.of_latents is None):
            word = "a conditional critic reads" if self.of_latents else "this critic does not read"
            raise ValueError(f"{word} latents.")
        maps = tf.cast(images, tf.float32) / 127.5 - 1.0
        if self.of_latents is not None:
            context = tf.asinh(tf.stop_gradient(latents))
            context = self.of_latents(context, training=training)
            context = tf.nn.leaky_relu(context, SLOPE)
            maps = tf.concat([maps, _as_large(context, tf.shape(maps)[1:3])], axis=-1)
        for layer in self.hidden:
            maps = tf.nn.leaky_relu(layer(maps, training=training), SLOPE)
        return self.last(maps, training=training)[..., 0]


class BeliefCritic(tf.keras.Model):
    """Critic with a number per position and band, given the distribution q(z|x) of an image.

    The networks read the distribution instead of its parameters: the mean of the mixture, and its
    log density at learned points around the mean. Both are invariant to permuting, splitting and
    merging components. The encoder is not trained.

    Args:
        encoder: `Pim` or `PimBands`.
        hidden: units of each of two layers per band.
        points: learned points per band. Single Gaussians need none, as their mean determines them.
    """

    def __init__(
        self, encoder: BeliefModel, hidden: int = 32, points: int = 8, name: str = "belief_critic"
    ) -> None:
        super().__init__(name=name)
        # A function, so that Keras does not train or save the encoder with the critic.
        self._beliefs = lambda images: encoder.marginal(encoder.features(images))
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

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns N × positions of all bands numbers for NHWC images, sRGB 0 to 255."""
        return self.of(self._beliefs(images), training)

    def of(self, beliefs: list[Belief], training: bool = False) -> tf.Tensor:
        """Returns the numbers for distributions, one per band."""
        numbers = []
        for band, ((*hidden, last), belief) in enumerate(zip(self.bands, beliefs)):
            maps = belief.mean()
            if self.points:
                maps = tf.concat([maps, _beyond_mean(belief, self.points[band])], axis=-1)
            for layer in hidden:
                maps = tf.nn.leaky_relu(layer(maps, training=training), SLOPE)
            outputs = last(maps, training=training)
            numbers.append(tf.reshape(outputs, [tf.shape(outputs)[0], -1]))
        return tf.concat(numbers, axis=-1)


def _beyond_mean(belief: Belief, points: tf.Tensor) -> tf.Tensor:
    """Returns log densities of mixtures at mean plus each point, relative to a Gaussian there."""
    mean, constant = belief.mean(), LOG_TAU * points.shape[-1]
    outputs = [
        belief.log_density(mean + point) + 0.5 * (tf.reduce_sum(tf.square(point)) + constant)
        for point in tf.unstack(points)
    ]
    return tf.stack(outputs, axis=-1)


def _as_large(maps: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Repeats each number of the maps to a given size."""
    times = -(-size // tf.shape(maps)[1:3])
    maps = tf.repeat(tf.repeat(maps, times[0], axis=1), times[1], axis=2)
    return maps[:, : size[0], : size[1]]
