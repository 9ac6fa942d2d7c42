"""Measures the size of a file of features, and the time to write it and to read from it.

    python -m benchmarks.features --count 1000000 --channels 64

The features are of a seeded normal distribution whose deviations fall from channel to channel; the
layer's prior is trained for them for some seconds. `--block` sets the examples per block.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import resource
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from tfc_models.features import CompressibleFeatures, FeatureFile, FeatureWriter

BATCH = 20_000
ACCESSES = 2_000


def batch_of(index: int, size: int, channels: int) -> np.ndarray:
    """Returns seeded features of deviations from 2 to 0.1 steps."""
    deviations = np.geomspace(2.0, 0.1, channels)
    rng = np.random.default_rng(index)
    return (rng.standard_normal((size, channels)) * deviations).astype(np.float32)


def trained_layer(channels: int, prior: str, steps: int = 400) -> CompressibleFeatures:
    """Returns a frozen layer whose prior is trained for these features."""
    tf.keras.utils.set_random_seed(0)
    layer = CompressibleFeatures(1.0, prior)
    model = tf.keras.Sequential([layer])
    layer.build((None, channels))
    x = batch_of(2**31, 256 * 100, channels)
    optimizer = tf.keras.optimizers.Adam(0.01)

    @tf.function
    def step(x: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            model(x, training=True)
            loss = tf.add_n(model.losses)
        variables = layer.prior.trainable_weights  # Steps stay at 1: there is no task.
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    for i in range(steps):
        at = i % 100 * 256
        step(tf.constant(x[at : at + 256]))
    layer.freeze()
    return layer


def seconds_per_access(file: FeatureFile, indexes: np.ndarray) -> tuple[float, float, float]:
    """Returns seconds for reading single examples: median, 99th percentile, and mean CPU time."""
    times, start_of_all = [], time.process_time()
    for index in indexes:
        start = time.perf_counter()
        file[int(index)]
        times.append(time.perf_counter() - start)
    processor = (time.process_time() - start_of_all) / len(indexes)
    return float(np.median(times)), float(np.quantile(times, 0.99)), processor


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--prior", default="factorized", choices=["factorized", "conditional"])
    parser.add_argument("--block", type=int)
    arguments = parser.parse_args()
    layer = trained_layer(arguments.channels, arguments.prior)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "features"
        start = time.perf_counter()
        with FeatureWriter(path, layer, block=arguments.block) as writer:
            for at in range(0, arguments.count, BATCH):
                size = min(BATCH, arguments.count - at)
                writer.write(batch_of(at, size, arguments.channels))
        written = time.perf_counter() - start
        size = path.stat().st_size
        start = time.perf_counter()
        file = FeatureFile(path, layer)
        opened = time.perf_counter() - start
        rng = np.random.default_rng(0)
        median, slowest, processor = seconds_per_access(
            file, rng.integers(len(file), size=ACCESSES)
        )
        start = time.perf_counter()
        for at in range(0, len(file), BATCH):
            file[at : at + BATCH]
        whole = time.perf_counter() - start
        first = batch_of(0, min(BATCH, arguments.count), arguments.channels)
        assert (file[: len(first)] == layer.quantize(first)).all()
    numbers = 4 * arguments.count * arguments.channels
    print(f"{arguments.count:,} vectors of {arguments.channels} in blocks of {file.block}")
    print(f"size: {size:,} bytes, {8 * size / arguments.count:.1f} bits per vector")
    print(f"float32: {numbers:,} bytes, {numbers / size:.1f} times as many")
    print(f"writing: {written:.1f} s; opening: {1e3 * opened:.2f} ms; reading all: {whole:.1f} s")
    print(
        f"random access: {1e3 * median:.2f} ms (median), {1e3 * slowest:.2f} ms (99 %), "
        f"{1e3 * processor:.2f} ms of CPU"
    )
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
