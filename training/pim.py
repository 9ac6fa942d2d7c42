"""Trains an encoder of PIM or PIM-bands on pairs of frames.

    python -m training.pim --config pim --workdir OUT \
        --data PAIRS.csv --validation OTHER_PAIRS.csv --minutes 30

See tfc_models/training/configs/perceptual. --data is a table of pairs (pairs.csv), a folder with a
folder of frames for each scene, or `video:GLOB`, whose pairs are first extracted to OUT/pairs.
It can be interrupted at any time: the same command resumes from the last checkpoint.
OUT/weights.npz contains the moving average of the weights.
"""

from __future__ import annotations

from absl import flags

from tfc_models.cli import absl_programs
from tfc_models.training import dispatch
from tfc_models.training.config import PimTraining
from training import run_flags

_DATA = flags.DEFINE_string(
    "data", None, "pairs: a pairs.csv, a folder of frames, or video:GLOB", required=True
)
_VALIDATION = flags.DEFINE_string("validation", None, "pairs of other scenes, in the same forms")


def train() -> None:
    """Trains with the flags' settings."""
    config = run_flags.read_config(PimTraining)
    dispatch.train(config, run_flags.workdir(), _DATA.value, _VALIDATION.value)


if __name__ == "__main__":
    absl_programs.run(train, run_flags)
