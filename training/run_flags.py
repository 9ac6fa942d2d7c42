"""The flags that every training program has, and what they mean."""

from __future__ import annotations

import pathlib
from typing import Any

from absl import flags

from tfc_models.training import config as configs

CONFIG = flags.DEFINE_string(
    "config", None, "name in tfc_models.training.configs, or file that sets CONFIG", required=True
)
WORKDIR = flags.DEFINE_string("workdir", None, "checkpoints, weights, logs", required=True)
STEPS = flags.DEFINE_integer("steps", None, "budget, in place of the config's", lower_bound=1)
MINUTES = flags.DEFINE_float("minutes", None, "budget, in place of the config's", lower_bound=0)
SET = flags.DEFINE_multi_string("set", [], "key=value of the config; arguments.key=value")


def configured(kind: type[configs.RunConfig]) -> Any:
    """Returns the config of the flags, of that kind."""
    changes = configs.budget(STEPS.value, MINUTES.value)
    return configs.read(CONFIG.value, [*SET.value, *changes], kind)


def workdir() -> pathlib.Path:
    """Returns the work folder of the flags."""
    return pathlib.Path(WORKDIR.value)
