"""Metrics of other projects: SSIMULACRA 2 and Butteraugli of libjxl, and ColorVideoVDP.

They are programs and a package for PyTorch, and none of them is a requirement. Each is looked
up when it is asked for.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from tfc_models import pictures
from tfc_models.evaluation.packages import BUTTERAUGLI, CVVDP, SSIMULACRA2, Program

PairMetric = Callable[[np.ndarray, np.ndarray], float]
CVVDP_DISPLAY = "standard_4k"
NUMBER = r"(-?(?:\d+\.?\d*|inf))"


def ssimulacra2() -> PairMetric:
    """SSIMULACRA 2 by libjxl's program: 100 at equality, and lower for worse pictures.

    Raises:
        MissingError: the program is missing.
    """
    return _by_program(SSIMULACRA2, "SSIMULACRA 2", rf"^{NUMBER}\s*$")


def butteraugli() -> PairMetric:
    """The 3-norm of Butteraugli's distances by libjxl's program: 0 at equality.

    Raises:
        MissingError: the program is missing.
    """
    return _by_program(BUTTERAUGLI, "Butteraugli", rf"^3-norm: {NUMBER}\s*$")


def cvvdp() -> PairMetric:
    """ColorVideoVDP on a standard display, in just-objectionable differences: 10 at equality.

    Raises:
        MissingError: the package is missing.
    """
    module: Any = CVVDP.load("CVVDP")
    metric = module.cvvdp(display_name=CVVDP_DISPLAY, quiet=True)

    def measure(original: np.ndarray, coded: np.ndarray) -> float:
        score, _ = metric.predict(coded, original, dim_order="HWC")
        return float(score)

    return measure


def _by_program(program: Program, title: str, pattern: str) -> PairMetric:
    """A metric that a program prints for two files."""
    path = program.path(title)

    def measure(original: np.ndarray, coded: np.ndarray) -> float:
        with tempfile.TemporaryDirectory(prefix="tfc-models-metric-") as folder:
            files = [pathlib.Path(folder, name) for name in ("original.png", "coded.png")]
            for file, pixels in zip(files, (original, coded)):
                file.write_bytes(pictures.encode(pixels, ".png"))
            command = [path, *map(str, files)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.search(pattern, done.stdout, re.MULTILINE)
        if done.returncode or found is None:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no score"]
            raise ValueError(f"{title}: {program.name} failed ({lines[-1]}).")
        return float(found[1])

    return measure
