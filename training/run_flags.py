"""Flags of all training programs."""

from __future__ import annotations

import pathlib
from typing import Any

from absl import flags

from tfc_models.training import config as configs

CONFIG = flags.DEFINE_string(
    "config", None, "name in tfc_models.training.configs, or file that sets CONFIG", required=True
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder for checkpoints, weights and logs", required=True
)
STEPS = flags.DEFINE_integer(
    "steps", None, "budget in steps, instead of the config's", lower_bound=1
)
MINUTES = flags.DEFINE_float(
    "minutes", None, "budget in minutes, instead of the config's", lower_bound=0
)
SET = flags.DEFINE_multi_string(
    "set", [], "change of the config: key=value, or arguments.key=value for the model"
)


def read_config(config_class: type[configs.RunConfig]) -> Any:
    """Returns the flags' config, which must be of the given class."""
    changes = configs.budget(STEPS.value, MINUTES.value)
    return configs.read(CONFIG.value, [*SET.value, *changes], config_class)


def workdir() -> pathlib.Path:
    """Returns the flags' work folder."""
    return pathlib.Path(WORKDIR.value)
