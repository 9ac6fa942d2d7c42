"""What every model is made of and takes: parameters, multiplications per pixel, seconds.

python -m benchmarks.complexity

Multiplications are those of convolutions, counted while a picture of 256×256 goes through;
seconds are medians of warm calls at 768×512. Models are of the sizes that they have without
arguments, or of the one given, with random weights: latents are small then, and few bits are
coded, so that seconds are those of the networks, and of the steps in which they must go.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from tfc_models import models
from tfc_models.codec import Codec

ROUNDS = 7
# Plain kernels build faster. GDN has the papers' form, with squares and a root.
PLAIN = {"kernel": "plain"}


class Count:
    """Multiplications of the convolutions since it was made."""

    total = 0


@contextmanager
def counted() -> Iterator[Count]:
    """Counts what `tf.nn.conv2d` multiplies while the block runs, eagerly."""
    count, original = Count(), tf.nn.conv2d

    def counting(maps: tf.Tensor, kernel: tf.Tensor, *args: object, **kwargs: object) -> tf.Tensor:
        outputs = original(maps, kernel, *args, **kwargs)
        count.total += int(np.prod(outputs.shape[1:3])) * int(np.prod(kernel.shape))
        return outputs

    tf.nn.conv2d = counting
    try:
        yield count
    finally:
        tf.nn.conv2d = original


def multiplications(model: models.CompressionModel, side: int = 256) -> tuple[float, ...]:
    """Of analysis, of synthesis and of all that predicts probabilities, for each pixel."""
    picture = tf.zeros([1, side, side, 3])
    counts = []
    with counted() as count:
        y = model.to_latents(picture)
        counts.append(count.total)
        model.to_images(y)
        counts.append(count.total - counts[0])
        model.coder(y)
        counts.append(count.total - sum(counts))
    return tuple(c / side**2 for c in counts)


def median_seconds(job: Callable[[], object]) -> float:
    """Of warm calls."""
    job()
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def row(name: str, sizes: dict[str, int]) -> str:
    """A row of the table."""
    tf.keras.utils.set_random_seed(0)
    model = models.build(name, **PLAIN, **sizes)
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    analysis, synthesis, entropy = (m / 1e3 for m in multiplications(model))
    model.set_bfloat16("auto")
    codec = Codec(model)
    picture = np.random.default_rng(0).integers(0, 256, [512, 768, 3], np.uint8)
    data = codec.compress(picture)
    encode = 1e3 * median_seconds(lambda: codec.compress(picture))
    decode = 1e3 * median_seconds(lambda: codec.decompress(data))
    return (
        f"| `{name}` | {parameters / 1e6:.1f} | {analysis:.1f} / {synthesis:.1f} / {entropy:.1f} "
        f"| {encode:.0f} | {decode:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=models.names())
    parser.add_argument("--channels", type=int)
    parser.add_argument("--latents", type=int)
    options = parser.parse_args()
    sizes = {k: getattr(options, k) for k in ("channels", "latents") if getattr(options, k)}
    print("| model | million parameters | thousand multiplications a pixel: analysis / synthesis")
    print("/ probabilities | encode, ms | decode, ms |")
    for name in options.names:
        print(row(name, sizes), flush=True)


if __name__ == "__main__":
    main()
