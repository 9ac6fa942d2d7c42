"""PIM: a distance between pictures, learned from frames of videos without anybody's ratings.

Bhardwaj, Fischer, Ballé, Chinen, "An Unsupervised Information-Theoretic Perceptual Quality Metric"
(NeurIPS 2020): two frames of a moment show the same, to people. What tells moments apart and is
common to both frames is kept (z), and the distance of two pictures is how far apart the beliefs
about z are that each of them alone gives.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfc_models.perceptual.pyramids import PYRAMIDS, inside, mirrored, pyramid_of
from tfc_models.remote import read_weights, write_weights

FORMAT = 2  # 1 did not say how blurred the bands are; it was always so much:
BLUR = 0.5
# About 1 over the standard deviation of a photo's bands, by side.
GAINS = {1: 40.0, 2: 28.0, 4: 20.0, 8: 3.5}
MIDDLE = 0.5
PIM_MIN_SIDE = 24
WEIGHTS = pathlib.Path(__file__).parent / "weights" / "pim.npz"
SEED = (11, 2020)


@dataclasses.dataclass(frozen=True)
class PimConfig:
    """What a PIM is built of; its authors' code has a width of 64 and 5 components."""

    frontend: str = "steerable"
    width: int = 16
    features: int = 3
    hidden: int = 50
    dimensions: int = 10
    components: int = 1
    """Gaussians in what one picture alone tells of z."""
    conditioned: bool = True
    """Whether the belief from both frames reads the second one."""
    by_band: bool = True
    """Whether each band must tell pairs apart by itself, or all of them together."""
    blur: float = BLUR
    """How uncertain a belief is about the numbers of a band themselves; 0: there is none."""

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


class Belief(NamedTuple):
    """Mixtures of Gaussians of variance 1, one at every place.

    Attributes:
        means: N, height, width, components, dimensions.
        logits: N, height, width, components.
    """

    means: tf.Tensor
    logits: tf.Tensor

    def log_density(self, z: tf.Tensor) -> tf.Tensor:
        """Of z (…, dimensions) at every place."""
        squares = tf.reduce_sum(tf.square(z[..., None, :] - self.means), axis=-1)
        parts = tf.nn.log_softmax(self.logits) - 0.5 * squares
        dimensions = tf.cast(tf.shape(z)[-1], tf.float32)
        return tf.reduce_logsumexp(parts, axis=-1) - 0.5 * math.log(2.0 * math.pi) * dimensions


class Pim(tf.keras.Model):
    """Encoders for every band of a pyramid; `distance` is the metric.

    Pictures are sRGB 0–255 NHWC, of any size from PIM_MIN_SIDE on.
    """

    def __init__(self, config: PimConfig | None = None, name: str = "pim") -> None:
        super().__init__(name=name)
        self.settings = config or PimConfig()
        self.pyramid = pyramid_of(self.settings.frontend)
        bands = range(len(self.pyramid.sides))
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
        """Of the pyramid, from the finest on, each with deviations of about 1 in photos."""
        pictures = tf.cast(pictures, tf.float32) / 255.0 - MIDDLE
        bands = inside(self.pyramid(mirrored(pictures)), self.pyramid, pictures)
        return [GAINS[side] * band for side, band in zip(self.pyramid.sides, bands)]

    def features(self, pictures: tf.Tensor) -> list[tf.Tensor]:
        """Of each band, from the finest on."""
        return self._features_of(self.bands(pictures))

    def _features_of(self, bands: list[tf.Tensor]) -> list[tf.Tensor]:
        return [network(band) for network, band in zip(self._features, bands)]

    def alone(self, features: list[tf.Tensor]) -> list[Belief]:
        """q(z|x): what one picture tells of z, for each band."""
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

    def summary(self, pictures: tf.Tensor) -> tf.Tensor:
        """What each picture tells of z on average over its places, for distances between sets."""
        beliefs = self.alone(self.features(pictures))
        shares = [tf.nn.softmax(belief.logits)[..., None] for belief in beliefs]
        means = (tf.reduce_sum(s * b.means, axis=-2) for s, b in zip(shares, beliefs))
        return tf.concat([tf.reduce_mean(z, axis=(1, 2)) for z in means], axis=-1)

    def together(self, first: list[tf.Tensor], second: list[tf.Tensor]) -> list[tf.Tensor]:
        """p(z|x, y): the means of what both pictures tell of z, for each band."""
        return [joint(x, y) for joint, x, y in zip(self._joints, first, second)]

    def distance(self, a: tf.Tensor, b: tf.Tensor, samples: int = 8) -> tf.Tensor:
        """Of each pair: the symmetrized divergence, averaged over places, then over bands.

        To each belief about z the band itself is joined, blurred: what is learned tells little of
        it, and would let a picture that is minimized drift where no eye takes it for the same.

        Args:
            a: pictures.
            b: pictures of the same shape.
            samples: of each component at every place, an even number; one Gaussian needs none.
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

    def bound(self, x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """IXYZ: what z is known to tell of x and of y at once, in nats, a value for each pair.

        E log q(z|x) q(z|y) / (p(z) p(z|x, y)) with z from p(z|x, y), whose mean over the pairs
        of the batch stands for p(z). Densities are geometric means over places. The bound is the
        mean of the bands' own; or, for all together, densities are averaged over bands, too.
        """
        first, second = self.features(x), self.features(y)
        means = self.together(first, second)
        terms: list[tf.Tensor] = []
        crossed: list[tf.Tensor] = []
        for band, beliefs in enumerate(zip(self.alone(first), self.alone(second))):
            mean = means[band]
            noise = tf.random.stateless_normal(
                tf.shape(mean), seed + tf.constant([0, band], seed.dtype)
            )
            z = mean + noise
            alone = sum(belief.log_density(z) for belief in beliefs)
            own = -0.5 * tf.reduce_sum(tf.square(noise) + math.log(2.0 * math.pi), axis=-1)
            terms.append(tf.reduce_mean(alone - own, axis=(1, 2)))
            crossed.append(_crossed(z, mean))
        # log p(z): of the z of every pair under the mean of all pairs' densities.
        densities = tf.stack(crossed)
        if not self.settings.by_band:
            densities = tf.reduce_mean(densities, axis=0, keepdims=True)
        marginals = tf.reduce_logsumexp(densities, axis=2)
        pairs = tf.cast(tf.shape(x)[0], tf.float32)
        marginal = tf.reduce_mean(marginals, axis=0) - tf.math.log(pairs)
        return tf.add_n(terms) / len(terms) - marginal

    def named_variables(self) -> dict[str, tf.Variable]:
        """By the network that they are of, and their number in it."""
        networks = (*self._features, *self._marginals, *self._joints)
        return {f"{n.name}/{i}": v for n in networks for i, v in enumerate(n.variables)}

    def save_npz(self, path: str | os.PathLike[str]) -> None:
        """Writes configuration and values (as float16), atomically."""
        meta = {"format": FORMAT, "pim": dataclasses.asdict(self.settings)}
        values = {k: v.numpy().astype(np.float16) for k, v in self.named_variables().items()}
        write_weights(pathlib.Path(path), {"__meta__": np.array(json.dumps(meta)), **values})


class _Joint(tf.keras.layers.Layer):
    """h = ReLU(W h) · A(y) + B(y), twice, and the mean of z of it; unconditioned, without y."""

    def __init__(self, config: PimConfig, name: str) -> None:
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


def _crossed(z: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
    """[i, k]: the log density of pair i's z under pair k's Gaussian, averaged over places."""
    count, dimensions = tf.shape(z)[0], means.shape[-1]
    places = tf.cast(tf.reduce_prod(tf.shape(z)[1:3]), tf.float32)
    z, means = tf.reshape(z, [count, -1]), tf.reshape(means, [count, -1])
    squares = (
        tf.reduce_sum(tf.square(z), axis=1)[:, None]
        + tf.reduce_sum(tf.square(means), axis=1)[None, :]
        - 2.0 * tf.matmul(z, means, transpose_b=True)
    )
    return -0.5 * (squares / places + math.log(2.0 * math.pi) * dimensions)


def load_pim(source: str | os.PathLike[str] = WEIGHTS, blur: float | None = None) -> Pim:
    """A PIM with the weights of a file, or of https://…#sha256=…; without one, those shipped.

    Args:
        source: the file, or the address.
        blur: in place of the file's own (see `PimConfig`).
    """
    arrays = read_weights(source)
    try:
        meta: dict[str, Any] = json.loads(str(arrays.pop("__meta__")))
        if meta["format"] not in (1, FORMAT):
            raise ValueError(f"of format {meta['format']}")
        settings = {"blur": BLUR, **meta["pim"]}
        model = Pim(PimConfig(**{**settings, **({} if blur is None else {"blur": blur})}))
        for name, variable in model.named_variables().items():
            variable.assign(arrays[name].astype(np.float32))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{source} is no file of PIM's weights: {error}.") from None
    return model
