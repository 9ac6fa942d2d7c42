"""Compares the encode and decode times of our models and CompressAI's at 768×512.

    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install torch compressai
    python -m benchmarks.beside_compressai --peer /tmp/peer/bin/python

Our and CompressAI's processes alternate, so that a slower machine affects both equally. Seconds are
medians over turns, each of which is the median of warm calls. Ratios compare adjacent turns.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import shlex
import statistics
import subprocess
import sys

PEER = pathlib.Path(__file__).with_name("peer_compressai.py")
ROOT = PEER.parents[1]
# Our model, its channels and latents, and CompressAI's class.
PAIRS = {
    "bmshj2018-hyperprior": (128, 192, "ScaleHyperprior"),
    "mbt2018-mean": (128, 192, "MeanScaleHyperprior"),
    "mbt2018": (192, 192, "JointAutoregressiveHierarchicalPriors"),
}


def output_of(command: list[str]) -> str:
    """Returns the standard output of a command; exits if it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def ours(name: str, channels: int, latents: int) -> tuple[float, float]:
    """Returns the seconds for encoding and decoding, from benchmarks.complexity."""
    sizes = [f"--channels={channels}", f"--latents={latents}"]
    output = output_of([sys.executable, "-m", "benchmarks.complexity", name, *sizes])
    *_, encode, decode, _ = output.strip().splitlines()[-1].split("|")
    return float(encode) / 1e3, float(decode) / 1e3


def theirs(python: str, name: str) -> tuple[float, float]:
    """Returns CompressAI's seconds for encoding and decoding."""
    output = output_of([*shlex.split(python), str(PEER), name])
    encode, decode = re.findall(r"([0-9.]+) s", output)
    return float(encode), float(decode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True, help="Python that imports compressai")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("names", nargs="*", default=list(PAIRS), metavar="NAME", help="our models")
    options = parser.parse_args()
    print("| model | encode, s: ours / CompressAI | times as fast | decode | times as fast |")
    if unknown := set(options.names) - set(PAIRS):
        parser.error(f"no pair for {', '.join(sorted(unknown))}; the pairs are {', '.join(PAIRS)}.")
    for name in options.names:
        channels, latents, peer = PAIRS[name]
        turns = [
            (*ours(name, channels, latents), *theirs(options.peer, peer))
            for _ in range(options.turns)
        ]
        encode, decode, their_encode, their_decode = map(statistics.median, zip(*turns))
        faster = [
            statistics.median(turn[verb + 2] / turn[verb] for turn in turns) for verb in (0, 1)
        ]
        print(
            f"| `{name}` ({channels}, {latents}) | {encode:.3f} / {their_encode:.3f} "
            f"| {faster[0]:.1f} | {decode:.3f} / {their_decode:.3f} | {faster[1]:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
