"""Crops that are cut on the accelerator, out of images that all lie in its memory.

The run's seed and the number of a step decide its crops (`jax.random.fold_in`), whatever was cut
before. An image is drawn with a probability proportional to its pixels, so that every part of a
folder is seen equally often; place, scale and mirroring are drawn as in `crops.crop_of`.

Arrays have the shapes of a capacity, which is at least what the images need. A program that was
compiled for a capacity serves every folder that fits into it.
"""

from __future__ import annotations

import concurrent.futures
import functools
import logging
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import crops
import jax
import jax.numpy as jnp
import numpy as np

PIXELS_STEP = 2**25  # Capacities are multiples of it, of 33.6 megapixels.
IMAGES_STEP = 1024
MOST_PIXELS = 2**31 - 1  # The places of pixels are int32.

logger = logging.getLogger(__name__)


class Images(NamedTuple):
    """Images on the device: pixels one after the other, and facts about each image.

    Attributes:
        pixels: uint8, capacity × 3.
        ends: int64, for each image the pixels of all images up to its own end.
        sizes: int32, heights and widths.
    """

    pixels: jax.Array
    ends: jax.Array
    sizes: jax.Array


def load(
    paths: list[pathlib.Path],
    read: Callable[[pathlib.Path], np.ndarray],
    side: int,
    megapixels: float | None,
    threads: int,
) -> Images:
    """Decodes images and copies them to the device; names those that cannot be used.

    Args:
        paths: of the image files.
        read: returns the pixels of a file, or raises OSError or ValueError with the reason.
        side: of a crop.
        megapixels: the capacity; None for the least multiple of `PIXELS_STEP` that suffices.
        threads: that decode. Threads and not forks: jax has threads of its own by now.
    """

    limit = MOST_PIXELS if megapixels is None else int(megapixels * 1e6)
    found: list[np.ndarray] = []
    count = 0
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for pixels in pool.map(functools.partial(_usable, read, side), paths):
            if pixels is None:
                continue
            found.append(pixels)
            count += pixels.shape[0] * pixels.shape[1]
            if count > limit:
                pool.shutdown(cancel_futures=True)
                raise crops.DataError(
                    f"the images have more than {limit / 1e6:g} megapixels, the room for them on "
                    "the device: raise --device_megapixels (at most 2147), or use --crops=host."
                )
    if not found:
        raise crops.DataError(
            f"no usable images: all of {len(paths)} are damaged or smaller than a crop of {side}."
        )
    return _on_device(found, _capacity(count, megapixels))


def _usable(
    read: Callable[[pathlib.Path], np.ndarray], side: int, path: pathlib.Path
) -> np.ndarray | None:
    """Returns the pixels of a file, or None if it is damaged or smaller than a crop."""
    try:
        pixels = read(path)
        short = min(pixels.shape[:2])
        if short < side:
            raise ValueError(f"{short} pixels on its short side")
    except (OSError, ValueError) as error:
        logger.warning("not used: %s: %s", path, error)
        return None
    return pixels


def _capacity(count: int, megapixels: float | None) -> int:
    if megapixels is not None:
        return int(megapixels * 1e6)
    return min(-(-count // PIXELS_STEP) * PIXELS_STEP, MOST_PIXELS)


def _on_device(images: list[np.ndarray], capacity: int) -> Images:
    rows = -(-len(images) // IMAGES_STEP) * IMAGES_STEP
    sizes = np.ones([rows, 2], np.int32)
    sizes[: len(images)] = [image.shape[:2] for image in images]
    counts = np.prod(sizes[: len(images)], axis=1, dtype=np.int64)
    # Rows without an image end where the last image does, so none is ever drawn.
    ends = np.full(rows, counts.sum(), np.int64)
    ends[: len(images)] = np.cumsum(counts)
    pixels = np.zeros([capacity, 3], np.uint8)
    for end in ends[: len(images)][::-1]:
        image = images.pop()
        pixels[end - image.shape[0] * image.shape[1] : end] = image.reshape(-1, 3)
    return Images(*map(jax.device_put, (pixels, ends, sizes)))


def cut(
    images: Images, step: jax.Array, seed: int, batch: int, side: int, downscale: float
) -> jax.Array:
    """Returns the crops of a step, uint8: batch × side × side × 3.

    Args:
        images: what to cut from.
        step: number of the step, an integer scalar.
        seed: of the run.
        batch: number of crops.
        side: of a crop.
        downscale: largest factor by which a crop is scaled down.
    """
    key = jax.random.fold_in(jax.random.key(seed), step.astype(jnp.uint32))
    keys = jax.random.split(key, 5)
    pixel = jax.random.randint(keys[0], (batch,), 0, images.ends[-1], jnp.int64)
    image = jnp.searchsorted(images.ends, pixel, side="right")
    sizes = images.sizes[image]
    start = images.ends[image] - sizes[:, 0].astype(jnp.int64) * sizes[:, 1]
    # Half of the crops keep their pixels: scaling down takes a photo's noise away.
    drawn = jax.random.uniform(keys[1], (batch,), jnp.float32, minval=-1.0)
    factor = downscale ** jnp.maximum(drawn, 0.0)
    size = jnp.minimum(jnp.round(side * factor).astype(jnp.int32), jnp.min(sizes, axis=1))
    corner = [
        jax.random.randint(keys[2 + axis], (batch,), 0, sizes[:, axis] - size + 1)
        for axis in (0, 1)
    ]
    window = round(side * downscale)
    offsets = jnp.minimum(jnp.arange(window), size[:, None] - 1)
    rows, columns = (c[:, None] + offsets for c in corner)
    places = start[:, None, None] + rows[:, :, None] * sizes[:, 1, None, None] + columns[:, None]
    pixels = images.pixels.at[places.astype(jnp.int32)].get(mode="promise_in_bounds")
    if window > side:
        pixels = _reduced(pixels, size, side)
    mirrored = jax.random.bernoulli(keys[4], 0.5, (batch, 1, 1, 1))
    return jnp.where(mirrored, pixels[:, :, ::-1], pixels)


def _reduced(pixels: jax.Array, size: jax.Array, side: int) -> jax.Array:
    """Scales the first `size` rows and columns down to `side`, as Pillow's box filter does."""
    weights = jax.vmap(lambda n: _box_weights(n, pixels.shape[1], side))(size)
    values = jnp.einsum(
        "bir,brcd,bjc->bijd",
        *(weights, pixels.astype(jnp.float32), weights),
        precision=jax.lax.Precision.HIGHEST,
    )
    return jnp.round(values).astype(jnp.uint8)


def _box_weights(size: jax.Array, window: int, side: int) -> jax.Array:
    """Returns the weights of `window` inputs in each of `side` outputs.

    Inputs count alike whose centre is within half an output's width of the output's centre.
    Distances are in units of 1 / (2 · side), in which they are integers.
    """
    outputs = (2 * jnp.arange(side, dtype=jnp.int32)[:, None] + 1) * size
    inputs = (2 * jnp.arange(window, dtype=jnp.int32) + 1) * side
    distance = inputs - outputs
    near = ((distance > -size) & (distance <= size)).astype(jnp.float32)
    return near / near.sum(axis=1, keepdims=True)


def described(images: Images, paths: list[pathlib.Path]) -> str:
    """Returns a line about the images for the log."""
    used, capacity = int(images.ends[-1]), len(images.pixels)
    return (
        f"{len(paths)} files, {used / 1e6:.0f} megapixels on {jax.devices()[0]} "
        f"(room for {capacity / 1e6:.0f})"
    )
