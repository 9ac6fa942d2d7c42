"""PIM-bands: a small perceptual distance with PIM's objective and other networks.

It differs from the published PIM (see `pim`) in a steerable pyramid of Fourier transforms, a width
of 16, a single Gaussian per position, a bound per band, and a second term of the distance: the
difference of the bands themselves. The weights in the package were also trained on a ranking of
synthetic fog and overlays.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from typing import Any

import tensorflow as tf

from tfc_models.perceptual.beliefs import SEED, Belief, BeliefModel, load_model
from tfc_models.perceptual.pim import PIM_MIN_SIDE
from tfc_models.perceptual.pyramids import PYRAMIDS, inside, mirrored, pyramid_of

BLUR = 0.5
# Inverse standard deviation of the bands of photos, by downsampling factor.
GAINS = {1: 40.0, 2: 28.0, 4: 20.0, 8: 3.5}
MIDDLE = 0.5
WEIGHTS = pathlib.Path(__file__).parent / "weights" / "pim-bands.npz"


@dataclasses.dataclass(frozen=True)
class PimBandsConfig:
    """Architecture of PIM-bands."""

    frontend: str = "steerable"
    width: int = 16
    features: int = 3
    hidden: int = 50
    dimensions: int = 10
    components: int = 1
    """Gaussians in q(z|x)."""
    conditioned: bool = True
    """Whether p(z|x, y) reads the second frame."""
    by_band: bool = True
    """Whether each band has a bound of its own, or all have one."""
    blur: float = BLUR
    """Scale of the band-difference term; 0 disables it."""

    def __post_init__(self) -> None:
        if self.frontend not in PYRAMIDS:
            known = ", ".join(PYRAMIDS)
            raise ValueError(f"frontend is one of {known}; got {self.frontend!r}.")
        for field in ("width", "features", "hidden", "dimensions", "components"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{field} is a whole number from 1 on; got {value!r}.")
        if not isinstance(self.blur, (int, float)) or not 0.0 <= self.blur < math.inf:
            raise ValueError(f"blur is a number from 0 on; got {self.blur!r}.")
        for field in ("conditioned", "by_band"):
            if not isinstance(getattr(self, field), bool):
                raise ValueError(f"{field} is True or False; got {getattr(self, field)!r}.")


class PimBands(BeliefModel):
    """Encoders of the bands of a pyramid; `distance` is the metric.

    Images are NHWC, sRGB 0 to 255, of at least PIM_MIN_SIDE pixels per side.
    """

    FORMAT = 2  # Format 1 had no `blur`, which was always BLUR.

    def __init__(self, config: PimBandsConfig | None = None, name: str = "pim_bands") -> None:
        super().__init__(name=name)
        self.settings = config or PimBandsConfig()
        self.pyramid = pyramid_of(self.settings.frontend)
        self.band_count = len(self.pyramid.sides)
        bands = range(self.band_count)
        self._features = [self._feature_network(i) for i in bands]
        self._marginals = [self._marginal_network(i) for i in bands]
        self._joints = [_Joint(self.settings, f"joint_{i}") for i in bands]
        example = self.features(tf.zeros([1, PIM_MIN_SIDE, PIM_MIN_SIDE, 3]))
        self.marginal(example)
        self.joint(example, example)

    def _feature_network(self, band: int) -> tf.keras.Sequential:
        width, relu = self.settings.width, tf.nn.relu
        layers = [tf.keras.layers.Conv2D(width, 5, 1, "same", activation=relu) for _ in range(3)]
        layers.append(tf.keras.layers.Conv2D(self.settings.features, 5, 1, "same"))
        return tf.keras.Sequential(layers, name=f"features_{band}")

    def _marginal_network(self, band: int) -> tf.keras.Sequential:
        components, dimensions = self.settings.components, self.settings.dimensions
        outputs = components * dimensions + (components if components > 1 else 0)
        hidden = [tf.keras.layers.Dense(self.settings.hidden, tf.nn.relu) for _ in range(2)]
        return tf.keras.Sequential(
            [*hidden, tf.keras.layers.Dense(outputs)], name=f"marginal_{band}"
        )

    def bands(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Returns the bands, finest first, with standard deviations of about 1 in photos."""
        images = tf.cast(images, tf.float32) / 255.0 - MIDDLE
        bands = inside(self.pyramid(mirrored(images)), self.pyramid, images)
        return [GAINS[side] * band for side, band in zip(self.pyramid.sides, bands)]

    def features(self, images: tf.Tensor) -> list[tf.Tensor]:
        """See the base class."""
        return self._features_of(self.bands(images))

    def _features_of(self, bands: list[tf.Tensor]) -> list[tf.Tensor]:
        return [network(band) for network, band in zip(self._features, bands)]

    def marginal(self, features: list[tf.Tensor]) -> list[Belief]:
        """See the base class."""
        components, dimensions = self.settings.components, self.settings.dimensions
        beliefs = []
        for network, maps in zip(self._marginals, features):
            outputs = network(maps)
            shape = tf.concat([tf.shape(maps)[:3], [components, dimensions]], 0)
            means = tf.reshape(outputs[..., : components * dimensions], shape)
            logits = outputs[..., components * dimensions :]
            if components == 1:
                logits = tf.zeros_like(means[..., 0])
            beliefs.append(Belief(means, logits))
        return beliefs

    def joint(self, first: list[tf.Tensor], second: list[tf.Tensor]) -> list[tf.Tensor]:
        """See the base class."""
        return [joint(x, y) for joint, x, y in zip(self._joints, first, second)]

    def distance(self, a: tf.Tensor, b: tf.Tensor, samples: int = 8) -> tf.Tensor:
        """Returns the symmetrized divergence of each pair, averaged over positions and bands.

        It adds the divergence of Laplacian distributions around the values of the bands to that of
        q(z|x). z contains little of an image: where it alone is minimized, images drift away from
        the reference.

        Args:
            a: images.
            b: images of the same shape.
            samples: samples per component and position, an even number; single Gaussians need none.
        """
        bands = [self.bands(batch) for batch in (a, b)]
        beliefs = [self.marginal(self._features_of(of)) for of in bands]
        total = 0.0
        for i, (p, q, first, second) in enumerate(zip(*beliefs, *bands)):
            apart = divergence(p, q, samples, i)
            if self.settings.blur:
                apart += blurred_difference(first, second, self.settings.blur)
            total += tf.reduce_mean(apart, axis=(1, 2))
        return total / len(beliefs[0])

    def networks(self) -> dict[str, tf.keras.layers.Layer]:
        """See the base class."""
        return {n.name: n for n in (*self._features, *self._marginals, *self._joints)}


class _Joint(tf.keras.layers.Layer):
    """h = ReLU(W h) · A(y) + B(y), twice, and a linear layer; without y if unconditioned."""

    def __init__(self, config: PimBandsConfig, name: str) -> None:
        super().__init__(name=name)
        size = config.dimensions
        self.hidden = [tf.keras.layers.Dense(size, tf.nn.relu) for _ in range(2)]
        self.scales = self.shifts = [None, None]
        if config.conditioned:
            one = tf.keras.initializers.Ones()
            self.scales = [tf.keras.layers.Dense(size, bias_initializer=one) for _ in range(2)]
            self.shifts = [tf.keras.layers.Dense(size) for _ in range(2)]
        self.mean = tf.keras.layers.Dense(size)

    def call(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        maps = x
        for hidden, scale, shift in zip(self.hidden, self.scales, self.shifts):
            maps = hidden(maps)
            if scale is not None:
                maps = maps * scale(y) + shift(y)
        return self.mean(maps)


def divergence(p: Belief, q: Belief, samples: int = 8, salt: int = 0) -> tf.Tensor:
    """Returns ½ KL(p‖q) + ½ KL(q‖p) per position: nonnegative, and 0 if p equals q.

    Single Gaussians have a closed form. For mixtures it is ½ ∫ (p − q) log(p / q), estimated with
    fixed samples of ½ p + ½ q. The integrand is then ½ · 2 tanh(Δ/2) · Δ with Δ = log(p / q), which
    is nonnegative. Components are sampled in their exact proportions.
    """
    if p.means.shape[-2] == 1:
        return 0.5 * tf.reduce_sum(tf.square(p.means - q.means), axis=(-2, -1))
    means = tf.concat([p.means, q.means], axis=-2)
    shares = 0.5 * tf.concat([tf.nn.softmax(p.logits), tf.nn.softmax(q.logits)], axis=-1)
    half = -(-samples // 2)
    shape = tf.concat([[half, 1], tf.shape(p.means)[1:3], [1, p.means.shape[-1]]], 0)
    # Antithetic noise: different for every position, the same for every pair.
    noise = tf.random.stateless_normal(shape, (SEED[0], SEED[1] + salt))

    def density(belief: Belief) -> tf.Tensor:
        """Returns the terms of the log density that differ between p and q, at each sample."""
        apart = tf.square(means[..., :, None, :] - belief.means[..., None, :, :])
        along = tf.reduce_sum(noise * belief.means, axis=-1)
        along = tf.concat([along, -along], axis=0)[..., None, :]
        parts = tf.nn.log_softmax(belief.logits)[..., None, :] - 0.5 * tf.reduce_sum(apart, -1)
        return tf.reduce_logsumexp(parts + along, axis=-1)

    logarithm = density(p) - density(q)
    terms = tf.reduce_sum(shares * tf.tanh(0.5 * logarithm) * logarithm, axis=-1)
    return tf.reduce_mean(terms, axis=0)


def blurred_difference(a: tf.Tensor, b: tf.Tensor, blur: float) -> tf.Tensor:
    """Returns the divergence of Laplacian distributions around the values of a band, per position.

    With scale `blur` around a and b it is |Δ|/blur + exp(−|Δ|/blur) − 1, in either direction. It is
    smooth at equality, 0 nowhere else, and unbounded, while the divergence of z is bounded.
    """
    apart = tf.abs(a - b) / blur
    return tf.reduce_sum(apart + tf.math.expm1(-apart), axis=-1)


def load_pim_bands(source: str | os.PathLike[str] = WEIGHTS, blur: float | None = None) -> PimBands:
    """Returns PIM-bands with the weights of a file or https address, or those in the package.

    Args:
        source: the file, or the address.
        blur: in place of the file's own (see `PimBandsConfig`).
    """

    def build(settings: dict[str, Any]) -> PimBands:
        settings = {"blur": BLUR, **settings}
        return PimBands(PimBandsConfig(**settings if blur is None else {**settings, "blur": blur}))

    return load_model(source, "pim-bands", build)
