"""Metrics of other projects: SSIMULACRA 2 and Butteraugli of libjxl, and ColorVideoVDP.

They are programs and a PyTorch package, none of them required. Each is looked up on first use.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import tempfile
from typing import Any

import numpy as np

from tfc_models import images
from tfc_models.metrics.record import ExternalMetric, ImagePairFunction
from tfc_models.packages import BUTTERAUGLI, CVVDP, SSIMULACRA2, Program

CVVDP_DISPLAY = "standard_4k"
NUMBER = r"(-?(?:\d+\.?\d*|inf))"


def ssimulacra2() -> ImagePairFunction:
    """SSIMULACRA 2 by libjxl's program: 100 at equality, lower for worse images.

    Raises:
        MissingError: the program is missing.
    """
    return _by_program(SSIMULACRA2, "SSIMULACRA 2", rf"^{NUMBER}\s*$")


def butteraugli() -> ImagePairFunction:
    """3-norm of Butteraugli's distances by libjxl's program: 0 at equality.

    Raises:
        MissingError: the program is missing.
    """
    return _by_program(BUTTERAUGLI, "Butteraugli", rf"^3-norm: {NUMBER}\s*$")


def cvvdp() -> ImagePairFunction:
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


def _by_program(program: Program, title: str, pattern: str) -> ImagePairFunction:
    """Returns a metric that runs a program on two files and reads the score from its output."""
    path = program.path(title)

    def measure(original: np.ndarray, coded: np.ndarray) -> float:
        with tempfile.TemporaryDirectory(prefix="tfc-models-metric-") as folder:
            files = [pathlib.Path(folder, name) for name in ("original.png", "coded.png")]
            for file, pixels in zip(files, (original, coded)):
                file.write_bytes(images.encode(pixels, ".png"))
            command = [path, *map(str, files)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        match = re.search(pattern, done.stdout, re.MULTILINE)
        if done.returncode or match is None:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no score"]
            raise ValueError(f"{title}: {program.name} failed ({lines[-1]}).")
        return float(match[1])

    return measure


RECORDS = [
    ExternalMetric(
        name="ssimulacra2",
        title="SSIMULACRA 2",
        axis_title="SSIMULACRA 2",
        min_side=8,
        higher_is_better=True,
        digits=2,
        in_decibels=False,
        position=110,
        load=ssimulacra2,
    ),
    ExternalMetric(
        name="butteraugli",
        title="Butteraugli",
        axis_title="Butteraugli (3-norm)",
        min_side=1,
        higher_is_better=False,
        digits=3,
        in_decibels=False,
        position=120,
        load=butteraugli,
    ),
    ExternalMetric(
        name="cvvdp",
        title="ColorVideoVDP",
        axis_title="ColorVideoVDP, JOD",
        min_side=8,
        higher_is_better=True,
        digits=3,
        in_decibels=False,
        position=130,
        load=cvvdp,
        identity=lambda: f"{CVVDP.version}, {CVVDP_DISPLAY}",
    ),
]
