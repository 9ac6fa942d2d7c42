"""PIM, the perceptual information metric as published.

Bhardwaj, Fischer, Ballé, Chinen, "An Unsupervised Information-Theoretic Perceptual Quality Metric"
(NeurIPS 2020). Successive video frames look the same to people. A latent z is trained to keep the
information that they share. The distance of two images is the symmetrized divergence of q(z|x) and
q(z|y).
"""

from __future__ import annotations

import dataclasses
import os
import pathlib

import numpy as np
import tensorflow as tf

from tfc_models.layers.precision import compute_dtype
from tfc_models.perceptual.beliefs import Belief, BeliefModel, load_model, sampled_divergence
from tfc_models.perceptual.sp1 import FRONTENDS

PIM_MIN_SIDE = 24
WEIGHTS = pathlib.Path(__file__).parent / "weights" / "pim.npz"
SAMPLES = 1


@dataclasses.dataclass(frozen=True)
class PimConfig:
    """Architecture of PIM; the defaults are those of the authors' released code (pim-5).

    The paper describes q(z|x) with two layers of 100 units, a linear layer to the means, and ten
    Gaussians (`hidden=100, components=10`).
    """

    frontend: str = "steerable"
    """Pyramid: steerable (sp1 filters, 8 bands) or laplacian (3 bands)."""
    width: int = 64
    """Filters of the first three convolutions of a band."""
    features: int = 3
    """Filters of the last one, which is linear."""
    dimensions: int = 10
    components: int = 5
    """Gaussians in q(z|x); of one, the distance is the mean squared difference of means."""
    hidden: int = 0
    """Units of the marginal encoder's two ReLU layers, before a linear layer to the means.
    0: the ReLU layers have a unit for each mean and dimension and no linear layer follows, so
    means are nonnegative, as in the released code."""

    # One bound for all bands; not a field, as the published objective has no other.
    by_band = False

    def __post_init__(self) -> None:
        if self.frontend not in FRONTENDS:
            known = ", ".join(FRONTENDS)
            raise ValueError(f"frontend is one of {known}; got {self.frontend!r}.")
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "hidden" else 1
            if field.name == "frontend":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{field.name} is a whole number, {least} or more; got {value!r}.")


class Pim(BeliefModel):
    """Published metric for NHWC images, sRGB 0 to 255, of at least PIM_MIN_SIDE pixels per side.

    The training code was not released. Choices of this project: initial weights (the first
    convolution of a band is scaled by the inverse standard deviation of the band, multipliers of
    the joint encoder start at 1), seeded samples for the distance, and its gradient with respect to
    mixture weights.
    """

    FORMAT = 3

    def __init__(self, config: PimConfig | None = None, name: str = "pim") -> None:
        super().__init__(name=name)
        self.settings = config or PimConfig()
        self.pyramid = FRONTENDS[self.settings.frontend]()
        self.band_count = self.pyramid.count
        bands = range(self.band_count)
        self._features = [_Features(self.settings, gain) for gain in self.pyramid.gains]
        self._marginals = [_Marginal(self.settings) for _ in bands]
        self._joints = [_Joint(self.settings.dimensions) for _ in bands]
        self._convolution_dtype, self._window = tf.float32, 0
        example = self.features(tf.zeros([1, PIM_MIN_SIDE, PIM_MIN_SIDE, 3]))
        self.marginal(example)
        self.joint(example, example)

    def speed_up(self, bfloat16: str, window: int) -> None:
        """Makes training steps faster.

        Args:
            bfloat16: convolutions in bfloat16: on, off or auto (only where it pays).
            window: side of the middle part of each band that is encoded; 0: whole bands.
        """
        self._convolution_dtype, self._window = compute_dtype(bfloat16), window

    def features(self, images: tf.Tensor) -> list[tf.Tensor]:
        """See the base class."""
        bands = self.pyramid(tf.cast(images, tf.float32) / 255.0)
        if self._window:
            bands = [_middle(band, self._window) for band in bands]
        return [
            tf.cast(network(tf.cast(band, self._convolution_dtype)), tf.float32)
            for network, band in zip(self._features, bands)
        ]

    def marginal(self, features: list[tf.Tensor]) -> list[Belief]:
        """See the base class."""
        return [network(maps) for network, maps in zip(self._marginals, features)]

    def joint(self, first: list[tf.Tensor], second: list[tf.Tensor]) -> list[tf.Tensor]:
        """See the base class."""
        return [joint(x, y) for joint, x, y in zip(self._joints, first, second)]

    def distance(self, a: tf.Tensor, b: tf.Tensor, samples: int = SAMPLES) -> tf.Tensor:
        """Returns the symmetrized divergence of q(z|a) and q(z|b), mean over positions and bands.

        For mixtures it is KL(p‖q) + KL(q‖p), estimated with a number of samples per position and
        direction. For single Gaussians, as in the released code, it is the mean over dimensions of
        the squared difference of means, a tenth of that divergence.
        """
        total = 0.0
        bands = zip(self._marginals, self.features(a), self.features(b))
        for band, (marginal, *maps) in enumerate(bands):
            p, q = map(marginal, maps)  # One band at a time, to save memory.
            if self.settings.components == 1:
                apart = tf.reduce_mean(tf.square(p.means - q.means), axis=(-2, -1))
            else:
                apart = sampled_divergence(p, q, samples, band)
            total += tf.reduce_mean(apart, axis=(1, 2))
        return total / self.band_count

    def networks(self) -> dict[str, tf.keras.layers.Layer]:
        """See the base class."""
        kinds: dict[str, list[tf.keras.layers.Layer]] = {
            "features": self._features,
            "marginal": self._marginals,
            "joint": self._joints,
        }
        return {f"{kind}_{i}": n for kind, layers in kinds.items() for i, n in enumerate(layers)}

    def _stored(self, variable: tf.Variable) -> np.ndarray:
        """Returns float16; kernels are rounded to 8 significant bits to compress better."""
        values = tf.cast(variable, tf.bfloat16) if len(variable.shape) > 1 else variable
        return tf.cast(values, tf.float16).numpy()


def _middle(band: tf.Tensor, side: int) -> tf.Tensor:
    top, left = (tf.maximum(tf.shape(band)[i] - side, 0) // 2 for i in (1, 2))
    return band[:, top : top + side, left : left + side]


class _Convolution(tf.keras.layers.Conv2D):
    """5×5 convolution in the dtype of its input, with float32 variables."""

    def __init__(self, filters: int, gain: float = 1.0, relu: bool = True) -> None:
        # 2 compensates for the preceding ReLU; with 1, training starts more slowly.
        start = tf.keras.initializers.VarianceScaling(2.0 * gain**2, "fan_avg", "uniform")
        super().__init__(filters, 5, 1, "same", kernel_initializer=start, autocast=False)
        self.relu = relu

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """See the base class."""
        kernel, bias = (tf.cast(v, inputs.dtype) for v in (self.kernel, self.bias))
        maps = tf.nn.bias_add(tf.nn.conv2d(inputs, kernel, 1, "SAME"), bias)
        return tf.nn.relu(maps) if self.relu else maps


class _Features(tf.keras.layers.Layer):
    """Three convolutions with ReLU, and a linear one."""

    def __init__(self, config: PimConfig, gain: float) -> None:
        super().__init__(autocast=False)
        self.convolutions = [
            _Convolution(config.width, gain),
            *(_Convolution(config.width) for _ in range(2)),
            _Convolution(config.features, relu=False),
        ]

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        """Returns the feature maps of a band."""
        for layer in self.convolutions:
            maps = layer(maps)
        return maps


class _Marginal(tf.keras.layers.Layer):
    """q(z|x): means and logits of a mixture, from separate pointwise networks."""

    def __init__(self, config: PimConfig) -> None:
        super().__init__()
        self.size = [config.components, config.dimensions]
        means = config.components * config.dimensions
        dense = tf.keras.layers.Dense
        self.base = [dense(config.hidden or means, tf.nn.relu) for _ in range(2)]
        self.means = dense(means) if config.hidden else None
        self.mix: list[tf.keras.layers.Layer] = []
        if config.components > 1:
            self.mix = [dense(config.components, tf.nn.relu) for _ in range(2)]
            self.mix.append(dense(config.components))

    def call(self, features: tf.Tensor) -> Belief:
        """Returns the distribution at every position."""
        maps = features
        for layer in (*self.base, *([self.means] if self.means else [])):
            maps = layer(maps)
        means = tf.reshape(maps, tf.concat([tf.shape(maps)[:3], self.size], 0))
        logits = features
        for layer in self.mix:
            logits = layer(logits)
        return Belief(means, logits if self.mix else tf.zeros_like(means[..., 0]))


class _Joint(tf.keras.layers.Layer):
    """p(z|x, y): h = ReLU(W h) · A(y) + B(y), twice; the result is the mean of z."""

    def __init__(self, size: int) -> None:
        super().__init__()
        dense, one = tf.keras.layers.Dense, tf.keras.initializers.Ones()
        self.base = [dense(size, tf.nn.relu) for _ in range(2)]
        self.multipliers = [dense(size, bias_initializer=one) for _ in range(2)]
        self.offsets = [dense(size) for _ in range(2)]

    def call(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Returns the mean at every position."""
        for base, multiplier, offset in zip(self.base, self.multipliers, self.offsets):
            x = base(x) * multiplier(y) + offset(y)
        return x


def load_pim(source: str | os.PathLike[str] = WEIGHTS) -> Pim:
    """Returns PIM with the weights of a file or https address; by default those in the package.

    A folder is read as released weights (see `released`).
    """
    if os.path.isdir(source):
        from tfc_models.perceptual.released import load_released

        return load_released(source)
    return load_model(source, "pim", lambda settings: Pim(PimConfig(**settings)))
