"""Random crops on the accelerator, from images in its memory.

The crops of a step depend only on the run's seed and the step number (`jax.random.fold_in`), so
that a resumed run draws the same crops. Images are drawn with probability proportional to their
pixel count, so that every pixel of a folder is about equally likely to be used. Position, scale
and mirroring are drawn as in `crops.random_crop`.

Arrays are padded to a fixed capacity, so that a compiled program can be reused for every folder
that fits.
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

PIXEL_CAPACITY_MULTIPLE = 2**25
IMAGE_CAPACITY_MULTIPLE = 1024
MAX_PIXELS = 2**31 - 1  # Indexes of pixels are int32.

logger = logging.getLogger(__name__)


class Images(NamedTuple):
    """Images on the device.

    Attributes:
        pixels: pixels of all images in sequence, uint8, capacity × 3.
        ends: exclusive end of each image in `pixels`, int64; padding repeats the last end.
        sizes: height and width of each image, int32.
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
    """Decodes images and copies them to the device; logs those that cannot be used.

    Args:
        paths: of the image files.
        read: returns the pixels of a file, or raises OSError or ValueError with the reason.
        side: side of a crop in pixels.
        megapixels: capacity; None: the number of pixels, rounded up to a multiple of
            `PIXEL_CAPACITY_MULTIPLE`.
        threads: number of decoding threads. (Forking is unsafe after jax has started threads.)
    """
    limit = MAX_PIXELS if megapixels is None else int(megapixels * 1e6)
    images: list[np.ndarray] = []
    count = 0
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for pixels in pool.map(functools.partial(_usable, read, side), paths):
            if pixels is None:
                continue
            images.append(pixels)
            count += pixels.shape[0] * pixels.shape[1]
            if count > limit:
                pool.shutdown(cancel_futures=True)
                raise crops.DataError(
                    f"the images have more than {limit / 1e6:g} megapixels, the capacity on the "
                    "device: raise --device_megapixels (at most 2147), or use --crops=host."
                )
    if not images:
        raise crops.DataError(
            f"no usable images: all of {len(paths)} are damaged or smaller than a crop of {side}."
        )
    return _copy_to_device(images, _capacity(count, megapixels))


def _usable(
    read: Callable[[pathlib.Path], np.ndarray], side: int, path: pathlib.Path
) -> np.ndarray | None:
    """Returns the pixels of a file, or None if it is damaged or smaller than a crop."""
    try:
        pixels = read(path)
        short_side = min(pixels.shape[:2])
        if short_side < side:
            raise ValueError(f"{short_side} pixels on its short side")
    except (OSError, ValueError) as error:
        logger.warning("not used: %s: %s", path, error)
        return None
    return pixels


def _capacity(count: int, megapixels: float | None) -> int:
    if megapixels is not None:
        return int(megapixels * 1e6)
    return min(-(-count // PIXEL_CAPACITY_MULTIPLE) * PIXEL_CAPACITY_MULTIPLE, MAX_PIXELS)


def _copy_to_device(images: list[np.ndarray], capacity: int) -> Images:
    rows = -(-len(images) // IMAGE_CAPACITY_MULTIPLE) * IMAGE_CAPACITY_MULTIPLE
    sizes = np.ones([rows, 2], np.int32)
    sizes[: len(images)] = [image.shape[:2] for image in images]
    counts = np.prod(sizes[: len(images)], axis=1, dtype=np.int64)
    # Padding rows repeat the last end, so that `searchsorted` never selects them.
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
        images: images on the device.
        step: number of the step, an integer scalar.
        seed: seed of the run.
        batch: number of crops.
        side: side of a crop in pixels.
        downscale: largest factor by which a crop is scaled down.
    """
    key = jax.random.fold_in(jax.random.key(seed), step.astype(jnp.uint32))
    keys = jax.random.split(key, 5)
    pixel = jax.random.randint(keys[0], (batch,), 0, images.ends[-1], jnp.int64)
    image = jnp.searchsorted(images.ends, pixel, side="right")
    sizes = images.sizes[image]
    start = images.ends[image] - sizes[:, 0].astype(jnp.int64) * sizes[:, 1]
    # Half of the crops are not downscaled, as downscaling removes noise that models must code.
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
    """Scales the first `size` rows and columns down to `side`, like Pillow's box filter."""
    weights = jax.vmap(lambda n: _box_weights(n, pixels.shape[1], side))(size)
    values = jnp.einsum(
        "bir,brcd,bjc->bijd",
        *(weights, pixels.astype(jnp.float32), weights),
        precision=jax.lax.Precision.HIGHEST,
    )
    return jnp.round(values).astype(jnp.uint8)


def _box_weights(size: jax.Array, window: int, side: int) -> jax.Array:
    """Returns the weights of `window` inputs in each of `side` outputs.

    An output pixel is the mean of the input pixels whose centers lie within it.
    Distances are in units of 1 / (2 · side), so that they are integers.
    """
    outputs = (2 * jnp.arange(side, dtype=jnp.int32)[:, None] + 1) * size
    inputs = (2 * jnp.arange(window, dtype=jnp.int32) + 1) * side
    distance = inputs - outputs
    near = ((distance > -size) & (distance <= size)).astype(jnp.float32)
    return near / near.sum(axis=1, keepdims=True)


def summary(images: Images, paths: list[pathlib.Path]) -> str:
    """Returns a line for the log."""
    used, capacity = int(images.ends[-1]), len(images.pixels)
    return (
        f"{len(paths)} files, {used / 1e6:.0f} megapixels on {jax.devices()[0]} "
        f"(capacity {capacity / 1e6:.0f})"
    )
