"""Measures each model's parameters, multiplications per pixel, and encode and decode times.

python -m benchmarks.complexity

Multiplications are those of convolutions, for an image of 256×256. Those of decoding are the
synthesis and the networks between hyper-latents and probabilities. Times are medians of warm calls
at 768×512. Models have their default sizes, or the given ones, and random weights. Latents are then
small and few bits are coded, so that times are those of the networks and their sequential steps.
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
    """Number of multiplications in convolutions."""

    total = 0


@contextmanager
def counted() -> Iterator[Count]:
    """Counts the multiplications of eager `tf.nn.conv2d` calls in a block."""
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
    """Returns the multiplications per pixel of analysis, synthesis and entropy model."""
    image = tf.zeros([1, side, side, 3])
    counts = []
    with counted() as count:
        y = model.to_latents(image)
        counts.append(count.total)
        model.to_images(y)
        counts.append(count.total - counts[0])
        model.coder(y)
        counts.append(count.total - sum(counts))
    return tuple(c / side**2 for c in counts)


def decoding_multiplications(model: models.CompressionModel, side: int = 256) -> float:
    """Returns the multiplications per pixel of synthesis and entropy model in decoding."""
    _, synthesis, entropy = multiplications(model, side)
    if "z" not in model.coder.streams:
        return synthesis + entropy
    with counted() as hyper_analysis:
        model.coder.hyper_latents(tf.zeros([1, side // 16, side // 16, model.latent_channels]))
    return synthesis + entropy - hyper_analysis.total / side**2


def median_seconds(job: Callable[[], object]) -> float:
    """Returns the median duration of warm calls."""
    job()
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def row(name: str, sizes: dict[str, int]) -> str:
    """Returns a row of the table."""
    tf.keras.utils.set_random_seed(0)
    model = models.build(name, **PLAIN, **sizes)
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    analysis, synthesis, entropy = (m / 1e3 for m in multiplications(model))
    decoding = decoding_multiplications(model) / 1e3
    model.set_bfloat16("auto")
    codec = Codec(model)
    image = np.random.default_rng(0).integers(0, 256, [512, 768, 3], np.uint8)
    data = codec.compress(image)
    encode = 1e3 * median_seconds(lambda: codec.compress(image))
    decode = 1e3 * median_seconds(lambda: codec.decompress(data))
    return (
        f"| `{name}` | {parameters / 1e6:.1f} | {analysis:.1f} / {synthesis:.1f} / {entropy:.1f} "
        f"| {decoding:.1f} | {encode:.0f} | {decode:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=models.names())
    parser.add_argument("--channels", type=int)
    parser.add_argument("--latents", type=int)
    options = parser.parse_args()
    sizes = {k: getattr(options, k) for k in ("channels", "latents") if getattr(options, k)}
    print("| model | million parameters | thousand multiplications a pixel: analysis / synthesis")
    print("/ probabilities | of decoding | encode, ms | decode, ms |")
    for name in options.names:
        print(row(name, sizes), flush=True)


if __name__ == "__main__":
    main()
