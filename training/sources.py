"""Trains a code for a small source; see training/configs/banana.py.

    python -m training.sources --config training/configs/banana.py --workdir OUT

Kill it at any time: the same command goes on where the last checkpoint was. OUT/weights.npz holds
the moving average of the weights, OUT/figures.json what the code takes and leaves at the end, and
pictures of it, where its source lies in the plane or is a function, are beside them.
"""

from __future__ import annotations

import json

from training import flagged, program
from training.config import SourceTraining
from training.source_codes import outcomes_of


def train() -> None:
    """As the flags say."""
    config: SourceTraining = flagged.configured(SourceTraining)
    workdir = flagged.workdir_for(config)
    for lmbda, figures in outcomes_of(config, workdir):
        cost = figures.cost(lmbda)
        print(json.dumps({"lmbda": lmbda, **figures._asdict(), "cost": cost}))


if __name__ == "__main__":
    program.run(train, flagged)
