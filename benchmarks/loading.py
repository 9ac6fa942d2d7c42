"""Measures the speed of loading crops from a folder, with and without caches.

    python -m benchmarks.loading --data IMAGES

Prints the crops and the decoded images per second of the loader that training uses, in batches of
8, and the ratio of its crops to those of the first row, the loader of earlier versions. The memory
holds a quarter of the decoded folder, and the cache on disk all of it, or, in the last row, another
quarter: what a folder that is too large for both costs.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tfc_models.training import data
from tfc_models.training.crops import PER_IMAGE, SLOTS
from tfc_models.training.pixel_cache import PixelCache

BATCH = 8
NO_LIMIT = 2**60


class Row(NamedTuple):
    """A setting of the loader and its speed."""

    name: str
    crops: float
    decoded: float


class Counted:
    """Counts the images that the loader decodes."""

    def __init__(self) -> None:
        self.count, self._lock = 0, threading.Lock()

    def __call__(self, path: pathlib.Path) -> np.ndarray:
        with self._lock:
            self.count += 1
        return data.pixels_of(path)


def speed(name: str, seconds: float, decoder: Counted, batches: Iterator[np.ndarray]) -> Row:
    """Measures a loader after its first round of slots, in which every crop decodes an image."""
    for _ in range(SLOTS // BATCH):
        next(batches)
    start, before, count = time.monotonic(), decoder.count, 0
    while (elapsed := time.monotonic() - start) < seconds:
        next(batches)
        count += BATCH
    return Row(name, count / elapsed, (decoder.count - before) / elapsed)


def measure(source: str, side: int, seconds: float, work: pathlib.Path) -> Iterator[Row]:
    """Yields a row for each setting."""
    decoder = Counted()
    paths = data.find(source)
    sample = paths[:: max(len(paths) // 16, 1)]
    total = int(np.mean([decoder(path).nbytes for path in sample]) * len(paths))
    print(f"{len(paths)} images, about {total / 2**30:.2f} GiB decoded, crops of {side}²")

    def row(
        name: str,
        per_image: int = PER_IMAGE,
        cache: PixelCache | None = None,
        first: int = 0,
    ) -> Row:
        options = {"per_image": per_image, "cache": cache, "memory_bytes": total // 4}
        crops = data.crops(source, side, 2.0, 0, first, **options, decode=decoder)
        batches = iter(crops.batch(BATCH).prefetch(4).as_numpy_iterator())
        return speed(name, seconds, decoder, batches)

    yield row("1 crop per image, memory only", per_image=1)
    yield row(f"{PER_IMAGE} crops per image, memory only")
    cache = PixelCache(work / "whole", NO_LIMIT)
    yield row("… and a disk cache, cold", cache=cache)
    for path in paths:
        cache.read(path, decoder)
    yield row("… and a disk cache, warm", cache=cache)
    small = PixelCache(work / "quarter", total // 4)
    for path in paths[: len(paths) // 3]:
        small.read(path, decoder)
    # After the first epoch, when all images have been decoded once.
    first = len(paths) * PER_IMAGE
    yield row("… and one for a quarter", cache=small, first=first)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--data", required=True, help="a folder or a glob of images")
    words.add_argument("--crop", type=int, default=256, help="side of a crop (default: 256)")
    words.add_argument("--seconds", type=float, default=20.0, help="for each row (default: 20)")
    words.add_argument("--work", help="folder for the caches, on the disk to measure")
    options = words.parse_args()
    base = None
    print(f"{'loader':<34}{'crops/s':>9}{'decoded/s':>11}{'ratio':>8}")
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        for row in measure(options.data, options.crop, options.seconds, pathlib.Path(work)):
            base = base or row.crops
            shown = f"{row.crops:>9.1f}{row.decoded:>11.1f}{row.crops / base:>7.1f}×"
            print(f"{row.name:<34}{shown}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (data.DataError, OSError) as error:
        raise SystemExit(str(error).splitlines()[0]) from None
