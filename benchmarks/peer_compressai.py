"""CompressAI's encode and decode times at 768×512, in a separate environment.

    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install torch compressai
    /tmp/peer/bin/python benchmarks/peer_compressai.py

Random weights, as its authors' model zoo needs a download; coding random latents is, if
anything, faster. `benchmarks.beside_compressai` runs it by turns with ours.
"""

from __future__ import annotations

import sys
import time

import torch
from compressai.models import (
    JointAutoregressiveHierarchicalPriors,
    MeanScaleHyperprior,
    ScaleHyperprior,
)


def median_seconds(job, rounds: int = 9) -> float:
    seconds = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[2:])[rounds // 2]


def main() -> None:
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 512, 768)
    sizes = {
        ScaleHyperprior: (128, 192, 9),
        MeanScaleHyperprior: (128, 192, 9),
        JointAutoregressiveHierarchicalPriors: (192, 192, 3),
    }
    for kind, (channels, latents, rounds) in sizes.items():
        if sys.argv[1:] and kind.__name__ not in sys.argv[1:]:
            continue
        model = kind(channels, latents).eval()
        model.update(force=True)
        with torch.no_grad():
            coded = model.compress(picture)
            encode = median_seconds(lambda m=model: m.compress(picture), rounds)
            decode = median_seconds(
                lambda m=model, c=coded: m.decompress(c["strings"], c["shape"]), rounds
            )
        line = f"{kind.__name__}({channels}, {latents})"
        print(f"{line}: encode {encode:.3f} s, decode {decode:.3f} s", flush=True)


if __name__ == "__main__":
    main()
