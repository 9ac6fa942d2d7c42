"""The flags of programs that train on pictures."""

from __future__ import annotations

from absl import flags

from tfc_models.training import config as configs
from tfc_models.training import kinds
from tfc_models.training.image_run import STRATEGIES
from training import run_flags

DATA = flags.DEFINE_string(
    "data", None, "pictures: a folder, a glob, or tfds:NAME[:SPLIT]", required=True
)
VALIDATION = flags.DEFINE_string("validation", None, "folder of whole pictures, not of --data")
STRATEGY = flags.DEFINE_enum(
    "strategy", "none", list(STRATEGIES), "several devices, or workers (TF_CONFIG)"
)


def train(kind: type[configs.RunConfig]) -> None:
    """Trains as the flags say, by a config of that kind."""
    config = run_flags.configured(kind)
    data = DATA.value, VALIDATION.value
    kinds.train(config, run_flags.workdir(), *data, STRATEGY.value)
