"""Damages files in many ways and checks the decoder's errors, time and memory.

    python -m benchmarks.damage --cases 50000

The tests run some thousands of these cases; this runs as many as asked, and prints the
verdicts, the slowest case and the peak memory.
"""

from __future__ import annotations

import argparse
import collections
import enum
import functools
import os
import pathlib
import random
import resource
import sys
import time
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

GOLDEN = pathlib.Path(__file__).parents[1] / "tests" / "golden"
DEFAULT = "default"  # in the zoo; the others are the small models of the golden files
# Models without golden files have random weights.
UNTRAINED = ("cheng2020-anchor", "cheng2020-attn", "elic2022", "kirmemis2020", "kirmemis2020-gdn")
MODELS = (*sorted(path.stem for path in GOLDEN.glob("*.tfcm")), *UNTRAINED, DEFAULT)
CASES = (
    *("cut", "flip", "splice", "swap", "grow"),
    *("forge field", "forge sizes", "forge streams", "forge escape", "bomb"),
)


class Outcome(enum.Enum):
    """Outcome of decoding a damaged file."""

    REFUSED = "refused with one line"
    SAME_IMAGE = "decoded to the right image"
    WRONG_IMAGE = "decoded to a wrong image"


class Result(NamedTuple):
    verdict: Outcome
    message: str
    seconds: float


@functools.cache
def codec(name: str):
    import tfc_models
    from tfc_models import models, zoo
    from tfc_models.codec import Codec
    from tfc_models.zoo import files

    if name == DEFAULT:
        return tfc_models.load(name)
    if name in UNTRAINED:
        tf.keras.utils.set_random_seed(0)
        return Codec(models.build(name, channels=8, latents=12))
    return Codec(zoo.build_model(files.read(GOLDEN / f"{name}.npz")))


@functools.cache
def original(name: str) -> bytes:
    if name != DEFAULT and name not in UNTRAINED:
        return (GOLDEN / f"{name}.tfcm").read_bytes()
    image = np.asarray(Image.open(GOLDEN / "mbt2018-mean.png"))
    # For one image, building a graph takes longer than the compression.
    tf.config.run_functions_eagerly(True)
    try:
        return codec(name).compress(image)
    finally:
        tf.config.run_functions_eagerly(False)


@functools.cache
def expected(name: str) -> bytes:
    return codec(name).decompress(original(name)).tobytes()


@functools.cache
def escape(name: str, value: int) -> list[bytes]:
    """Returns streams of a 64×64 image whose last latent is far outside its table."""
    coder = codec(name).model.coder
    latents = np.zeros([1, 4, 4, codec(name).model.latent_channels], np.float32)
    latents[0, -1, -1, -1] = value
    return [strings[0].numpy() for strings in coder.compress(latents)]


@functools.cache
def least_bytes(name: str, side: int) -> int:
    """Returns the minimum size of the first stream of a square image."""
    coder = codec(name).model.coder
    coder, stride = (coder.hyperprior, 64) if len(coder.streams) > 1 else (coder, 16)
    return int(float(coder.least_bits.sum()) * (-(-side // stride)) ** 2 / 8) + 1


def canonical_bomb(name: str, side: int) -> bytes:
    """Returns a file of a large image with valid hyper-latents and plausible latents."""
    coder = codec(name).model.coder
    rng, first = random.Random(0), []
    least = least_bytes(name, side)
    if len(coder.streams) > 1:
        hyper = tf.zeros([1, -(-side // 64), -(-side // 64), coder.hyperprior.channels])
        first = [coder.hyperprior.compress(hyper)[0][0].numpy()]
        least = 4 * side**2 // 256
    prefix, sizes, _, latent = parts(original(name))
    return assembled(prefix, [side, side, *sizes[2:]], [*first, rng.randbytes(least)], latent)


def memory_mb() -> float:
    """Returns the peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def sealed(body: bytes) -> bytes:
    """Returns a file with a valid file fingerprint, like a forged file."""
    from tfc_models.codec.container import fingerprint

    return body + fingerprint(body)


def parts(data: bytes):
    """Returns the prefix, sizes, streams and latent fingerprint of a file."""
    from tfc_models.codec import container

    header = container.inspect(data)
    prefix = data[: 4 + len(container.pack_name(header.model)) + container.DIGEST_BYTES]
    at, streams = len(prefix), []
    for value in (header.height, header.width, header.rate):
        at += len(container.varint(value))
    for length in header.stream_bytes:
        at += len(container.varint(length))
        streams.append(data[at : at + length])
        at += length
    return prefix, [header.height, header.width, header.rate], streams, data[at : at + 4]


def assembled(prefix: bytes, sizes: list[int], streams: list[bytes], latent: bytes) -> bytes:
    from tfc_models.codec.container import varint

    body = prefix + b"".join(varint(s) for s in sizes)
    body += b"".join(varint(len(s)) + s for s in streams)
    return sealed(body + latent)


def damaged(name: str, case: str, seed: int) -> bytes:
    """Returns a golden file damaged in a way that `seed` selects."""
    rng = random.Random(seed)
    data = original(name)
    if case == "cut":
        start = rng.choice([0, 0, rng.randrange(len(data))])
        return data[start : rng.randrange(start, len(data) + (start > 0))]
    if case == "flip":
        out = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 10])):
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        return bytes(out)
    if case == "grow":
        at = rng.randrange(len(data) + 1)
        return data[:at] + rng.randbytes(rng.randrange(1, 2000)) + data[at:]
    if case == "splice":
        other = original(rng.choice(MODELS))
        return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]
    prefix, sizes, streams, latent = parts(data)
    if case == "swap":
        theirs = parts(original(rng.choice(MODELS)))
        if rng.random() < 0.5:
            prefix = theirs[0]
        else:
            streams = rng.choice([streams[::-1], theirs[2]])
    elif case == "forge field":
        body = bytearray(data[:-4])
        for _ in range(rng.choice([1, 1, 3])):
            body[rng.randrange(len(body))] = rng.randrange(256)
        return sealed(bytes(body))
    elif case == "forge escape":
        sizes[:2] = 64, 64
        streams = escape(name, rng.choice([-(2**22), 2**22 - 1, rng.randrange(2**8, 2**22)]))
        # In the middle of this value's code.
        streams = [*streams[:-1], streams[-1][: -rng.randrange(1, 12)]]
    elif case == "bomb":
        sizes[:2] = [side := rng.choice([1024, 2048])] * 2
        size = least_bytes(name, side)
        filling = rng.choice([bytes(size), rng.randbytes(size)])
        streams = [filling, *streams[1:]]
    elif case == "forge sizes":
        bomb = rng.choice([0, 1, 2**14, 2**15, 2**24 - 1, 2**31, 2**35 - 1, rng.randrange(1, 9000)])
        sizes[rng.randrange(3)] = bomb
        if rng.random() < 0.5:
            sizes[rng.randrange(2)] = rng.choice([bomb, 8000, 1])
    else:
        i = rng.randrange(len(streams))
        stream = bytearray(streams[i])
        for _ in range(rng.choice([1, 1, 20])):
            if stream:
                stream[rng.randrange(len(stream))] = rng.randrange(256)
        streams[i] = rng.choice([bytes(stream), b"", rng.randbytes(len(stream)), b"\xff" * 70000])
    return assembled(prefix, sizes, streams, latent)


def attempt(name: str, data: bytes) -> Result:
    """Decodes a file and classifies the result. Raises all errors except BitstreamError."""
    from tfc_models import BitstreamError

    decoder, right = codec(name), expected(name)
    start = time.perf_counter()
    try:
        picture = decoder.decompress(data)
    except BitstreamError as error:
        return Result(Outcome.REFUSED, str(error), time.perf_counter() - start)
    seconds = time.perf_counter() - start
    verdict = Outcome.SAME_IMAGE if picture.tobytes() == right else Outcome.WRONG_IMAGE
    return Result(verdict, "", seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=50000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in MODELS:
        attempt(name, original(name))
    before = memory_mb()
    verdicts: collections.Counter = collections.Counter()
    messages: collections.Counter = collections.Counter()
    slowest = (0.0, "")
    for i in range(arguments.cases):
        name, case = MODELS[i % len(MODELS)], CASES[i // len(MODELS) % len(CASES)]
        result = attempt(name, damaged(name, case, arguments.seed + i))
        verdicts[case, result.verdict.value] += 1
        messages[" ".join(result.message.split()[:5])] += 1
        slowest = max(slowest, (result.seconds, f"{name}, {case}, seed {arguments.seed + i}"))
    for (case, verdict), count in sorted(verdicts.items()):
        print(f"{count:7d}  {case}: {verdict}")
    for message, count in messages.most_common(20):
        print(f"{count:7d}  “{message} …”")
    print(f"slowest: {slowest[0]:.3f} s ({slowest[1]})")
    print(f"peak memory: {memory_mb():.0f} MiB, {memory_mb() - before:.0f} more than before")
    wrong = any(verdict == Outcome.WRONG_IMAGE.value for _, verdict in verdicts)
    return 1 if wrong or slowest[0] > 1.0 or memory_mb() - before > 1024 else 0


if __name__ == "__main__":
    sys.exit(main())
