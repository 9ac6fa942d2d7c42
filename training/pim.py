"""Trains the encoders of PIM, or of PIM-bands, on pairs of frames.

    python -m training.pim --config pim --workdir OUT \
        --data PAIRS.csv --validation OTHER_PAIRS.csv --minutes 30

See tfc_models/training/configs/perceptual. --data is a table of pairs (pairs.csv), a folder with a
folder of frames for every scene, or `video:GLOB`, whose pairs are taken out to OUT/pairs first.
Kill it at any time: the same command goes on where the last checkpoint was. OUT/weights.npz holds
the moving average of the weights.
"""

from __future__ import annotations

from absl import flags

from tfc_models.cli import absl_programs
from tfc_models.training import kinds
from tfc_models.training.config import PimTraining
from training import run_flags

_DATA = flags.DEFINE_string(
    "data", None, "pairs: a pairs.csv, a folder of frames, or video:GLOB", required=True
)
_VALIDATION = flags.DEFINE_string("validation", None, "pairs of other scenes, as --data")


def train() -> None:
    """Trains as the flags say."""
    config = run_flags.configured(PimTraining)
    kinds.train(config, run_flags.workdir(), _DATA.value, _VALIDATION.value)


if __name__ == "__main__":
    absl_programs.run(train, run_flags)
