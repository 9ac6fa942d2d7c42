"""Peak resident memory of compress (single pass and effort 1) and decompress, by process.

python -m benchmarks.memory
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIZES = {4: (2048, 2048), 16: (4096, 4096), 64: (8192, 8192)}
SEARCHED = 4  # megapixels up to which effort 1 is measured
CHILD = """
import resource, sys
import numpy as np
import tfc_models
verb, path, height, width = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
codec = tfc_models.load("default")
loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if verb.startswith("compress"):
    from skimage import data
    photo = data.coffee()
    tiles = -(-height // photo.shape[0]), -(-width // photo.shape[1]), 1
    picture = np.tile(photo, tiles)[:height, :width]
    effort = int(verb.partition(" ")[2] or 0)
    open(path, "wb").write(codec.compress(picture, effort=effort))
else:
    codec.decompress(open(path, "rb").read())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(round(loaded / 1024), round(peak / 1024))
"""


def main() -> None:
    print("| megapixels | | before, MiB | peak, MiB |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for megapixels, (height, width) in SIZES.items():
            path = pathlib.Path(folder) / f"{megapixels}.tfcm"
            searched = ["compress 1"] if megapixels <= SEARCHED else []
            for verb in ("compress", *searched, "decompress"):
                child = [sys.executable, "-c", CHILD, verb, str(path), str(height), str(width)]
                run = subprocess.run(child, capture_output=True, text=True, check=True)
                before, peak = run.stdout.split()
                print(f"| {megapixels} | {verb} | {before} | {peak} |", flush=True)


if __name__ == "__main__":
    main()
