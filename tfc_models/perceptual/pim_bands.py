"""PIM-bands: a small distance between pictures, learned with PIM's objective and other networks.

Differences from the published PIM (see `pim`): a steerable pyramid of Fourier transforms, a width
of 16, a single Gaussian at every place, a bound for every band, and a second term of the distance,
the difference of the bands themselves. The weights that are shipped were also trained on a ranking
of synthetic fog and overlays.
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
# Inverse standard deviation of a photo's bands, by downsampling factor.
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
    """Encoders of every band of a pyramid; `distance` is the metric.

    Pictures are sRGB 0–255 NHWC, of any size from PIM_MIN_SIDE on.
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
        self.alone(example)
        self.together(example, example)

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

    def bands(self, pictures: tf.Tensor) -> list[tf.Tensor]:
        """Bands of the pyramid from the finest on, with deviations of about 1 in photos."""
        pictures = tf.cast(pictures, tf.float32) / 255.0 - MIDDLE
        bands = inside(self.pyramid(mirrored(pictures)), self.pyramid, pictures)
        return [GAINS[side] * band for side, band in zip(self.pyramid.sides, bands)]

    def features(self, pictures: tf.Tensor) -> list[tf.Tensor]:
        """See the base class."""
        return self._features_of(self.bands(pictures))

    def _features_of(self, bands: list[tf.Tensor]) -> list[tf.Tensor]:
        return [network(band) for network, band in zip(self._features, bands)]

    def alone(self, features: list[tf.Tensor]) -> list[Belief]:
        """See the base class."""
        components, dimensions = self.settings.components, self.settings.dimensions
        found = []
        for network, maps in zip(self._marginals, features):
            outputs = network(maps)
            shape = tf.concat([tf.shape(maps)[:3], [components, dimensions]], 0)
            means = tf.reshape(outputs[..., : components * dimensions], shape)
            logits = outputs[..., components * dimensions :]
            if components == 1:
                logits = tf.zeros_like(means[..., 0])
            found.append(Belief(means, logits))
        return found

    def together(self, first: list[tf.Tensor], second: list[tf.Tensor]) -> list[tf.Tensor]:
        """See the base class."""
        return [joint(x, y) for joint, x, y in zip(self._joints, first, second)]

    def distance(self, a: tf.Tensor, b: tf.Tensor, samples: int = 8) -> tf.Tensor:
        """Symmetrized divergence of each pair, averaged over places and then over bands.

        The divergence of q(z|x) is added to that of Laplacian distributions around the bands'
        own values: z holds little of a picture, and where it alone is minimized, pictures
        drift away from the reference.

        Args:
            a: pictures.
            b: pictures of the same shape.
            samples: samples of each component at every place, an even number; a single Gaussian
                needs none.
        """
        bands = [self.bands(batch) for batch in (a, b)]
        beliefs = [self.alone(self._features_of(of)) for of in bands]
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
    """h = ReLU(W h) · A(y) + B(y), twice, and a linear layer; unconditioned, without y."""

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
    """½ KL(p‖q) + ½ KL(q‖p) at every place, never below 0, and 0 where p is q.

    In closed form for single Gaussians. Of mixtures it is ½ ∫ (p − q) log(p / q), estimated with
    samples of ½ p + ½ q, the same at every call: there the integrand is ½ · 2 tanh(Δ/2) · Δ with
    Δ = log(p / q), which is nowhere negative, and the components take their true shares.
    """
    if p.means.shape[-2] == 1:
        return 0.5 * tf.reduce_sum(tf.square(p.means - q.means), axis=(-2, -1))
    means = tf.concat([p.means, q.means], axis=-2)
    shares = 0.5 * tf.concat([tf.nn.softmax(p.logits), tf.nn.softmax(q.logits)], axis=-1)
    half = -(-samples // 2)
    shape = tf.concat([[half, 1], tf.shape(p.means)[1:3], [1, p.means.shape[-1]]], 0)
    # Each with its opposite; every place has noise of its own, every pair the same.
    noise = tf.random.stateless_normal(shape, (SEED[0], SEED[1] + salt))

    def density(belief: Belief) -> tf.Tensor:
        """The logarithm's terms that p and q do not share, at each mean plus each noise."""
        apart = tf.square(means[..., :, None, :] - belief.means[..., None, :, :])
        along = tf.reduce_sum(noise * belief.means, axis=-1)
        along = tf.concat([along, -along], axis=0)[..., None, :]
        parts = tf.nn.log_softmax(belief.logits)[..., None, :] - 0.5 * tf.reduce_sum(apart, -1)
        return tf.reduce_logsumexp(parts + along, axis=-1)

    logarithm = density(p) - density(q)
    found = tf.reduce_sum(shares * tf.tanh(0.5 * logarithm) * logarithm, axis=-1)
    return tf.reduce_mean(found, axis=0)


def blurred_difference(a: tf.Tensor, b: tf.Tensor, blur: float) -> tf.Tensor:
    """The divergence at every place of Laplacian beliefs about a band's numbers.

    Of scale `blur`, around a's and b's: |Δ|/blur + exp(−|Δ|/blur) − 1, either way. Smooth where
    they are equal, and nowhere else 0; and it grows without end, where z is only so far apart.
    """
    apart = tf.abs(a - b) / blur
    return tf.reduce_sum(apart + tf.math.expm1(-apart), axis=-1)


def load_pim_bands(source: str | os.PathLike[str] = WEIGHTS, blur: float | None = None) -> PimBands:
    """Returns PIM-bands with the weights of a file or of https://…#sha256=…, or those shipped.

    Args:
        source: the file, or the address.
        blur: in place of the file's own (see `PimBandsConfig`).
    """

    def build(settings: dict[str, Any]) -> PimBands:
        settings = {"blur": BLUR, **settings}
        return PimBands(PimBandsConfig(**settings if blur is None else {**settings, "blur": blur}))

    return load_model(source, "pim-bands", build)
