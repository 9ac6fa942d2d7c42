"""Flags of programs that train on images."""

from __future__ import annotations

from absl import flags

from tfc_models.training import config as configs
from tfc_models.training import dispatch
from tfc_models.training.image_run import STRATEGIES
from training import run_flags

DATA = flags.DEFINE_string(
    "data", None, "training images: a folder, a glob, or tfds:NAME[:SPLIT]", required=True
)
VALIDATION = flags.DEFINE_string("validation", None, "folder of images that are not in --data")
STRATEGY = flags.DEFINE_enum(
    "strategy",
    "none",
    list(STRATEGIES),
    "distribution strategy for several devices, or for several workers (TF_CONFIG)",
)


def train(config_class: type[configs.RunConfig]) -> None:
    """Trains with the flags' config, which must be of the given class."""
    config = run_flags.read_config(config_class)
    data = DATA.value, VALIDATION.value
    dispatch.train(config, run_flags.workdir(), *data, STRATEGY.value)
