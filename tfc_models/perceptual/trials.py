"""Tests of distances: monotonicity in distortions, shift against blur, rank correlation.

A distance is a function of two NHWC batches, sRGB 0 to 255, with one number per pair.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageFilter
from scipy import ndimage, stats

from tfc_models.perceptual.corruptions import CORRUPTIONS, STRENGTHS, corrupted

Distance = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
BANK_SIDE = 192


def measured(distance: Distance, a: np.ndarray, b: np.ndarray, batch: int = 8) -> np.ndarray:
    """Returns the distances of many pairs, in batches."""
    parts = []
    for i in range(0, len(a), batch):
        pair = (tf.constant(side[i : i + batch], tf.float32) for side in (a, b))
        parts.append(np.asarray(distance(*pair)))
    return np.concatenate(parts)


def monotone(
    distances: Mapping[str, Distance], images: Sequence[np.ndarray]
) -> dict[str, dict[str, float]]:
    """Returns the share of strength steps with a growing distance, by distance and corruption."""
    steps: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in distances}
    for corruption in CORRUPTIONS:
        for number, image in enumerate(images):
            series = np.stack([corrupted(image, corruption, s, number) for s in STRENGTHS])
            still = np.repeat(image[None], len(series), 0)
            for name, distance in distances.items():
                rises = np.diff(measured(distance, still, series)) > 0
                steps[name].setdefault(corruption, []).append(rises)
    return {
        name: {corruption: float(np.mean(rises)) for corruption, rises in steps_of.items()}
        for name, steps_of in steps.items()
    }


def blur_of_equal_error(image: np.ndarray, error: float) -> np.ndarray:
    """Returns the image, blurred by a Gaussian to a mean squared error if possible."""
    least, most = 0.0, 32.0
    for _ in range(24):
        middle = 0.5 * (least + most)
        blurred = ndimage.gaussian_filter(image.astype(np.float32), (middle, middle, 0))
        if np.mean(np.square(blurred - image)) < error:
            least = middle
        else:
            most = middle
    return blurred


def shifts_beside_blurs(
    distances: Mapping[str, Distance], images: Sequence[np.ndarray]
) -> dict[str, float]:
    """Returns the share of images for which a pixel shift costs less than an equal-MSE blur.

    Shifts are down and to the right, averaged. Images without a blur of equal error are skipped.
    """
    wins: dict[str, list[bool]] = {name: [] for name in distances}
    for image in images:
        sides = (image[1:], image[:-1]), (image[:, 1:], image[:, :-1])
        pairs = [_shift_and_blur(still, shifted) for still, shifted in sides]
        trials = [pair for pair in pairs if pair is not None]
        if len(trials) < len(pairs):
            continue
        for name, distance in distances.items():
            costs = [measured(distance, *trial) for trial in trials]
            shift, blur = np.mean(costs, axis=0)
            wins[name].append(shift < blur)
    return {name: float(np.mean(won)) if won else math.nan for name, won in wins.items()}


def _shift_and_blur(still: np.ndarray, shifted: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the image twice, and the shifted and the blurred one; None without such a blur."""
    still, shifted = still.astype(np.float32), shifted.astype(np.float32)
    error = float(np.mean(np.square(shifted - still)))
    blurred = blur_of_equal_error(still, error)
    if not error or np.mean(np.square(blurred - still)) < 0.99 * error:
        return None
    return np.stack([still] * 2), np.stack([shifted, blurred])


def bank(
    images: Sequence[np.ndarray], count: int = 1000, side: int = BANK_SIDE, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    """Yields crops, the same with one or two distortions, and the names of these."""
    draw = np.random.default_rng([seed, 1])
    names = list(DISTORTIONS)
    for _ in range(count):
        image = images[draw.integers(len(images))]
        top, left = (int(draw.integers(s - side + 1)) for s in image.shape[:2])
        crop = np.ascontiguousarray(image[top : top + side, left : left + side])
        ways = draw.choice(names, size=draw.choice([1, 1, 2]), replace=False)
        changed = crop
        for way in ways:
            changed = DISTORTIONS[way](changed, draw)
        yield crop, changed, " and ".join(ways)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Returns Spearman's rank correlation."""
    return float(stats.spearmanr(a, b).statistic)


def _coded(kind: str, lowest: int, highest: int) -> Callable[..., np.ndarray]:
    def distort(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, kind, quality=int(draw.integers(lowest, highest)))
        return np.asarray(Image.open(buffer).convert("RGB"))

    return distort


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.round(np.clip(values, 0, 255)).astype(np.uint8)


def _blurred(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    radius = float(np.exp(draw.uniform(np.log(0.4), np.log(5.0))))
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def _noisy(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    sigma = np.exp(draw.uniform(np.log(2.0), np.log(50.0)))
    return _bytes(image + sigma * draw.standard_normal(image.shape))


def _smaller(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    factor = draw.uniform(1.3, 6.0)
    pillow_image = Image.fromarray(image)
    small = [max(1, round(side / factor)) for side in pillow_image.size]
    way = draw.choice([Image.Resampling.BICUBIC, Image.Resampling.BILINEAR])
    shrunk = pillow_image.resize(small, Image.Resampling.BOX)
    return np.asarray(shrunk.resize(pillow_image.size, int(way)))


def _shifted(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    offset = draw.uniform(-3.0, 3.0, 2)
    return _bytes(ndimage.shift(image.astype(np.float32), (*offset, 0), order=1, mode="mirror"))


def _turned(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    angle = draw.uniform(-3.0, 3.0)
    turned = ndimage.rotate(image.astype(np.float32), angle, reshape=False, order=1, mode="mirror")
    return _bytes(turned)


def _curved(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return _bytes(255 * (image / 255.0) ** np.exp(draw.uniform(-0.7, 0.7)))


def _enhanced(kind: type) -> Callable[..., np.ndarray]:
    def distort(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        factor = float(np.exp(draw.uniform(-0.9, 0.9)))
        return np.asarray(kind(Image.fromarray(image)).enhance(factor))

    return distort


def _coarse(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    step = int(draw.integers(8, 64))
    return _bytes((image // step + 0.5) * step)


def _median(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    size = int(draw.choice([3, 5, 7]))
    return np.asarray(Image.fromarray(image).filter(ImageFilter.MedianFilter(size)))


DISTORTIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "JPEG": _coded("JPEG", 3, 90),
    "WebP": _coded("WEBP", 0, 85),
    "AVIF": _coded("AVIF", 5, 80),
    "blur": _blurred,
    "noise": _noisy,
    "lower resolution": _smaller,
    "shift": _shifted,
    "turn": _turned,
    "tone curve": _curved,
    "contrast": _enhanced(ImageEnhance.Contrast),
    "saturation": _enhanced(ImageEnhance.Color),
    "fewer levels": _coarse,
    "median": _median,
}
