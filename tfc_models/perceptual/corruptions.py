"""Fifteen corruptions in five strengths, in the style of ImageNet-C.

Hendrycks, Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019) define them. Noises, defocus, fog, brightness, contrast, pixelate and
JPEG have the strengths of their code for large images. Motion and glass blur, elastic and the steps
of zoom are milder or simpler. Snow and frost are drawn here, for any image size. Random parts are
the same at every strength, so that a stronger corruption differs only in strength.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage, signal

STRENGTHS = (1, 2, 3, 4, 5)

# Arguments: image of floats 0 to 1, strength index from 0, random generator.
_Corruption = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def corrupted(image: np.ndarray, name: str, strength: int, seed: int = 0) -> np.ndarray:
    """Returns a uint8 image H×W×3 with a corruption of `CORRUPTIONS`, of strength 1 to 5."""
    if name not in CORRUPTIONS:
        raise ValueError(f"there is no corruption {name!r}; there are {', '.join(CORRUPTIONS)}.")
    if strength not in STRENGTHS:
        raise ValueError(f"strengths are 1 to 5; got {strength!r}.")
    draw = np.random.default_rng([seed, list(CORRUPTIONS).index(name)])
    changed = CORRUPTIONS[name](image / 255.0, strength - 1, draw)
    return np.round(255.0 * np.clip(changed, 0.0, 1.0)).astype(np.uint8)


def _gaussian_noise(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    return x + (0.08, 0.12, 0.18, 0.26, 0.38)[s] * draw.standard_normal(x.shape)


def _shot_noise(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    """Returns photon noise; fewer photons for stronger noise."""
    photons = (60, 25, 12, 5, 3)
    counts = draw.poisson(x * photons[0])
    for fewer, more in zip(photons[1 : s + 1], photons[:s]):
        counts = draw.binomial(counts, fewer / more)
    return counts / photons[s]


def _impulse_noise(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    hit, white = draw.uniform(size=x.shape), draw.integers(2, size=x.shape)
    return np.where(hit < (0.03, 0.06, 0.09, 0.17, 0.27)[s], white, x)


def _filtered(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Returns the image convolved with a kernel, mirrored at the borders."""
    reach = [(k // 2, k // 2) for k in kernel.shape]
    wide = np.pad(x, [*reach, (0, 0)], "symmetric")
    kernel = kernel / kernel.sum()
    return np.stack([signal.fftconvolve(wide[..., c], kernel, "valid") for c in range(3)], -1)


def _defocus_blur(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    radius = (3, 4, 6, 8, 10)[s]
    y, z = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (y**2 + z**2 <= radius**2).astype(np.float64)
    return _filtered(x, ndimage.gaussian_filter(disk, (0.1, 0.5, 0.5, 0.5, 0.5)[s]))


def _moved(x: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """Returns the image sampled at positions displaced by dy and dx."""
    y, z = np.mgrid[: x.shape[0], : x.shape[1]].astype(np.float64)
    places = [y + dy, z + dx]
    channels = [
        ndimage.map_coordinates(x[..., c], places, order=1, mode="mirror") for c in (0, 1, 2)
    ]
    return np.stack(channels, axis=-1)


def _glass_blur(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    """Displaces pixels by short distances, between two blurs."""
    reach, sigma = (1, 2, 2.5, 3, 4)[s], (0.7, 0.9, 1.0, 1.1, 1.5)[s]
    offsets = draw.uniform(-1.0, 1.0, size=(2, *x.shape[:2]))
    scattered = _moved(ndimage.gaussian_filter(x, (sigma, sigma, 0)), *(reach * offsets))
    return ndimage.gaussian_filter(scattered, (sigma, sigma, 0))


def _motion_blur(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    length, angle = (7, 11, 15, 21, 29)[s], draw.uniform(-np.pi / 4, np.pi / 4)
    return _filtered(x, _line(length, angle))


def _line(length: int, angle: float) -> np.ndarray:
    """Returns a kernel: a straight line through its center."""
    kernel = np.zeros((length, length))
    steps = np.linspace(-(length // 2), length // 2, 8 * length)
    rows = np.round(steps * np.sin(angle)).astype(int) + length // 2
    columns = np.round(steps * np.cos(angle)).astype(int) + length // 2
    np.add.at(kernel, (rows, columns), 1.0)
    return kernel


def _zoom_blur(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    factors = np.arange(1.0, (1.11, 1.16, 1.21, 1.26, 1.33)[s], 0.01)
    middle = [(side - 1) / 2 for side in x.shape[:2]]
    y, z = np.mgrid[: x.shape[0], : x.shape[1]].astype(np.float64)
    total = np.zeros_like(x)
    for factor in factors:
        part = 1.0 / factor - 1.0
        total += _moved(x, (y - middle[0]) * part, (z - middle[1]) * part)
    return total / len(factors)


def _grey(x: np.ndarray) -> np.ndarray:
    return (x @ np.array([0.299, 0.587, 0.114]))[..., None]


def _snow(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    """Adds falling flakes and darkens the rest."""
    grain = ndimage.gaussian_filter(draw.standard_normal(x.shape[:2]), 1.2)
    level = np.quantile(grain, (0.985, 0.975, 0.96, 0.94, 0.92)[s])
    flakes = np.clip((grain - level) / grain.std(), 0.0, 1.0)[..., None].repeat(3, axis=-1)
    flakes = np.clip(4.0 * _filtered(flakes, _line(9, 1.0)), 0.0, 1.0)
    share = (0.9, 0.85, 0.8, 0.75, 0.7)[s]
    pale = share * x + (1.0 - share) * np.maximum(x, 1.5 * _grey(x) + 0.5)
    return pale + flakes


def _octaves(shape: tuple[int, ...], rough: float, draw: np.random.Generator) -> np.ndarray:
    """Returns noise from 0 to 1 whose spectrum falls with the power `rough` of frequency."""
    y, z = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    radius = np.hypot(y, z)
    radius[0, 0] = np.inf
    noise = np.fft.rfft2(draw.standard_normal(shape[:2])) * radius**-rough
    texture = np.fft.irfft2(noise, s=shape[:2])
    return (texture - texture.min()) / (np.ptp(texture) or 1.0)


def _frost(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    """Adds bright, sharp-edged crystals."""
    crystals = np.abs(_octaves(x.shape, 1.2, draw) - 0.5)
    crystals = 1.0 - np.clip(crystals / np.quantile(crystals, 0.7), 0.0, 1.0)
    tint = np.array([0.85, 0.95, 1.0])
    share = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[s]
    return share[0] * x + share[1] * crystals[..., None] * tint


def _fog(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    """Adds plasma noise from midpoint displacement with uniform noise of range `wibble` squared.

    The range is divided by `decay` per octave.
    """
    mist, decay = (1.5, 2.0, 2.5, 2.5, 3.0)[s], (2.0, 2.0, 1.7, 1.5, 1.4)[s]
    texture = _octaves(x.shape, 1.0 + 2.0 * np.log2(decay), draw)
    largest = x.max()
    return (x + mist * texture[..., None]) * largest / (largest + mist)


def _brightness(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    """Increases the largest channel, as value in HSV."""
    value = x.max(axis=-1, keepdims=True)
    brighter = np.minimum(value + (0.1, 0.2, 0.3, 0.4, 0.5)[s], 1.0)
    return np.where(value > 0.0, x * brighter / np.maximum(value, 1e-6), brighter)


def _contrast(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    mean = x.mean(axis=(0, 1), keepdims=True)
    return mean + (0.4, 0.3, 0.2, 0.1, 0.05)[s] * (x - mean)


def _elastic(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    field = draw.uniform(-1.0, 1.0, size=(2, *x.shape[:2]))
    field = np.stack([ndimage.gaussian_filter(part, 4.0) for part in field])
    return _moved(x, *((0.7, 1.2, 1.8, 2.6, 3.6)[s] * field / field.std()))


def _pixelate(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    image = Image.fromarray(np.round(255 * x).astype(np.uint8))
    scale = (0.6, 0.5, 0.4, 0.3, 0.25)[s]
    small = [max(1, round(side * scale)) for side in image.size]
    coarse = image.resize(small, Image.Resampling.BOX)
    return np.asarray(coarse.resize(image.size, Image.Resampling.NEAREST)) / 255.0


def _jpeg(x: np.ndarray, s: int, draw: np.random.Generator) -> np.ndarray:
    buffer = io.BytesIO()
    image = Image.fromarray(np.round(255 * x).astype(np.uint8))
    image.save(buffer, "JPEG", quality=(25, 18, 15, 10, 7)[s])
    return np.asarray(Image.open(buffer)) / 255.0


CORRUPTIONS: dict[str, _Corruption] = {
    "gaussian noise": _gaussian_noise,
    "shot noise": _shot_noise,
    "impulse noise": _impulse_noise,
    "defocus blur": _defocus_blur,
    "glass blur": _glass_blur,
    "motion blur": _motion_blur,
    "zoom blur": _zoom_blur,
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic": _elastic,
    "pixelate": _pixelate,
    "JPEG": _jpeg,
}
