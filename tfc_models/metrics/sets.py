"""Distances between two sets of images, computed from features of the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

BLOCK = 1024  # rows of a kernel matrix at a time


def features_of(
    images: Iterable[np.ndarray], extractor: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Returns the features of batches of images, one float64 row per image."""
    rows = [np.asarray(extractor(batch), np.float64) for batch in images]
    if not rows:
        raise ValueError("there are no images in the set.")
    return np.concatenate([row.reshape(len(row), -1) for row in rows])


def patches_of(image: np.ndarray, side: int) -> np.ndarray:
    """Returns the adjacent square patches that fit into an image, from the upper left corner."""
    rows, columns = (length // side for length in image.shape[:2])
    whole = image[: rows * side, : columns * side]
    squares = whole.reshape(rows, side, columns, side, image.shape[2]).swapaxes(1, 2)
    return squares.reshape(-1, side, side, image.shape[2])


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of normal distributions with the means and covariances of two sets.

    It is |μ − μ'|² + tr(C + C' − 2 (C C')^½) of features, one row per image (Heusel et al. 2017,
    with Inception features). With fewer images than features, covariances are singular and the
    distance is biased upwards, by an amount that depends on the number of images. Compare sets of
    the same size only.
    """
    a, b = _checked(a, b)
    means = [np.mean(x, axis=0) for x in (a, b)]
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(first)
    half = vectors * np.sqrt(np.maximum(values, 0.0))
    # tr (C C')^½ equals that of the symmetric C^½ C' C^½, whose eigenvalues are not negative.
    product = np.maximum(np.linalg.eigvalsh(half.T @ second @ half), 0.0)
    distance = np.sum((means[0] - means[1]) ** 2)
    distance += np.trace(first) + np.trace(second) - 2.0 * np.sum(np.sqrt(product))
    return float(max(distance, 0.0))


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x·y/d + 1)³.

    Bińkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs" (ICLR 2018). Its expectation is 0
    for two sets of one distribution, whatever their sizes. Values may therefore be negative.
    """
    a, b = _checked(a, b)
    within = [(_sum(x, x) - np.sum(_kernel_diagonal(x))) / (len(x) * (len(x) - 1)) for x in (a, b)]
    return float(sum(within) - 2.0 * _sum(a, b) / (len(a) * len(b)))


def _kernel_diagonal(x: np.ndarray) -> np.ndarray:
    return (np.sum(np.square(x), axis=1) / x.shape[1] + 1.0) ** 3


def _sum(x: np.ndarray, y: np.ndarray) -> float:
    blocks = (x[i : i + BLOCK] @ y.T / x.shape[1] + 1.0 for i in range(0, len(x), BLOCK))
    return float(sum(np.sum(block**3) for block in blocks))


def _checked(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"both sets need rows of equally many features; got {a.shape}, {b.shape}.")
    if min(len(a), len(b)) < 2:
        raise ValueError("a distance between sets needs two images or more in each.")
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        raise ValueError("features of a set are not numbers.")
    return a, b
