"""Trains a code for a small source; see tfc_models/training/configs/sources.

    python -m training.sources --config banana --workdir OUT

It can be interrupted at any time: the same command resumes from the last checkpoint.
OUT/weights.npz contains the moving average of the weights, and OUT/figures.json the final bits and
distortion. For sources in the plane and random functions, plots are written next to them.
"""

from __future__ import annotations

import json

from tfc_models.cli import absl_programs
from tfc_models.training.config import SourceTraining
from tfc_models.training.source_codes import train_and_measure
from training import run_flags


def train() -> None:
    """Trains with the flags' settings; prints the figures as JSON."""
    config: SourceTraining = run_flags.read_config(SourceTraining)
    for lmbda, figures in train_and_measure(config, run_flags.workdir()):
        cost = figures.cost(lmbda)
        print(json.dumps({"lmbda": lmbda, **figures._asdict(), "cost": cost}))


if __name__ == "__main__":
    absl_programs.run(train, run_flags)
