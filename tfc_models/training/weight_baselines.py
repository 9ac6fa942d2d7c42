"""Compression of network weights without entropy-penalized training, for comparison.

All sizes include tables and steps.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Mapping

import numpy as np

INT8_LEVELS = 127


def zipped_float_bytes(weights: Mapping[str, np.ndarray]) -> int:
    """Returns the bytes of deflated float32 weights."""
    data = b"".join(value.astype("<f4").tobytes() for value in weights.values())
    return len(zlib.compress(data, 9))


def rounded_to_int8(weights: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    """Returns weights rounded to 8 bits with one step per tensor, and their deflated bytes."""
    result, data = {}, b""
    for name, value in weights.items():
        step = max(float(np.abs(value).max()), 1e-12) / INT8_LEVELS
        integers = np.rint(value / step).astype(np.int8)
        result[name] = integers.astype(np.float32) * np.float32(step)
        data += np.float32(step).tobytes() + integers.tobytes()
    return result, len(zlib.compress(data, 9))


def smallest_removed(weights: Mapping[str, np.ndarray], share: float) -> dict[str, np.ndarray]:
    """Returns masks of the kernels that keep all but a share of smallest weights of each."""
    masks = {}
    for name, value in weights.items():
        if value.ndim > 1:
            limit = np.quantile(np.abs(value), share)
            masks[name] = (np.abs(value) > limit).astype(np.float32)
    return masks


def pruned_and_clustered(
    weights: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray], bits: int
) -> tuple[dict[str, np.ndarray], int]:
    """Returns kernels with shared values and Huffman codes, and their bytes.

    Weights that are left are one of 2^bits values, found by k-means from evenly spaced ones, as in
    Han et al., "Deep Compression" (ICLR 2016). Indexes of values and runs of zeros are coded with
    Huffman codes. Vectors are float16.
    """
    result, size = {}, 0
    for name, value in weights.items():
        if name not in masks:
            result[name] = value.astype(np.float16).astype(np.float32)
            size += 2 * value.size
            continue
        places = np.flatnonzero(masks[name].reshape(-1))
        kept = value.reshape(-1)[places]
        centers, indexes = _clusters(kept, 2**bits)
        flat = np.zeros(value.size, np.float32)
        flat[places] = centers[indexes]
        result[name] = flat.reshape(value.shape)
        size += 2 * len(centers) + _huffman_bytes(indexes) + _huffman_bytes(_runs(places))
    return result, size


def _clusters(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    if not len(values):
        return np.zeros(1, np.float32), np.zeros(0, int)
    centers = np.linspace(values.min(), values.max(), count)
    indexes = np.zeros(len(values), int)
    for _ in range(30):
        borders = (centers[1:] + centers[:-1]) / 2.0
        indexes = np.searchsorted(borders, values)
        sums = np.bincount(indexes, values, count)
        counts = np.bincount(indexes, minlength=count)
        centers = np.sort(np.where(counts > 0, sums / np.maximum(counts, 1), centers))
    return centers.astype(np.float16).astype(np.float32), np.searchsorted(
        (centers[1:] + centers[:-1]) / 2.0, values
    )


def _runs(places: np.ndarray, longest: int = 255) -> np.ndarray:
    """Returns the runs of zeros before each weight; longer ones are several symbols."""
    gaps = np.diff(places, prepend=-1) - 1
    symbols: list[int] = []
    for gap in gaps:
        symbols += [longest] * (gap // longest) + [gap % longest]
    return np.array(symbols, int)


def _huffman_bytes(symbols: np.ndarray) -> int:
    """Returns the bytes of symbols under their Huffman code, with a byte per code length."""
    counts = np.bincount(symbols) if len(symbols) else np.zeros(0, int)
    lengths = huffman_lengths(counts)
    return len(counts) + int(np.ceil(counts @ lengths / 8.0)) if len(counts) else 0


def huffman_lengths(counts: np.ndarray) -> np.ndarray:
    """Returns the code lengths of a Huffman code; 0 for symbols that do not occur."""
    lengths = np.zeros(len(counts), int)
    heap = [(int(count), i, [i]) for i, count in enumerate(counts) if count]
    heapq.heapify(heap)
    if len(heap) == 1:
        lengths[heap[0][2]] = 1
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        members = first[2] + second[2]
        lengths[members] += 1
        heapq.heappush(heap, (first[0] + second[0], first[1], members))
    return lengths
