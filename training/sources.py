"""Trains a code for a small source; see tfc_models/training/configs/sources.

    python -m training.sources --config banana --workdir OUT

Kill it at any time: the same command goes on where the last checkpoint was. OUT/weights.npz holds
the moving average of the weights, OUT/figures.json what the code takes and leaves at the end, and
pictures of it, where its source lies in the plane or is a function, are beside them.
"""

from __future__ import annotations

import json

from tfc_models.cli import absl_programs
from tfc_models.training.config import SourceTraining
from tfc_models.training.source_codes import outcomes_of
from training import run_flags


def train() -> None:
    """As the flags say."""
    config: SourceTraining = run_flags.configured(SourceTraining)
    for lmbda, figures in outcomes_of(config, run_flags.workdir()):
        cost = figures.cost(lmbda)
        print(json.dumps({"lmbda": lmbda, **figures._asdict(), "cost": cost}))


if __name__ == "__main__":
    absl_programs.run(train, run_flags)
