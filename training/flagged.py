"""The flags that every training program has, and what they mean."""

from __future__ import annotations

import pathlib
from typing import Any

from absl import flags

from training import config as configs
from training import identity

CONFIG = flags.DEFINE_string("config", None, "file that sets CONFIG", required=True)
WORKDIR = flags.DEFINE_string("workdir", None, "checkpoints, weights, logs", required=True)
STEPS = flags.DEFINE_integer("steps", None, "budget, in place of the config's", lower_bound=1)
MINUTES = flags.DEFINE_float("minutes", None, "budget, in place of the config's", lower_bound=0)
SET = flags.DEFINE_multi_string("set", [], "key=value of the config; arguments.key=value")


def configured(kind: type[configs.RunConfig]) -> Any:
    """The config of the flags, of that kind."""
    changes = list(SET.value)
    if STEPS.value is not None and MINUTES.value is not None:
        raise ValueError("give --steps or --minutes, not both.")
    changes += [f"steps={STEPS.value}"] if STEPS.value is not None else []
    changes += [f"minutes={MINUTES.value}"] if MINUTES.value is not None else []
    return configs.read(CONFIG.value, changes, kind)


def workdir_for(config: configs.RunConfig) -> pathlib.Path:
    """The work folder, made where it is missing; refused if it holds another model's run."""
    workdir = pathlib.Path(WORKDIR.value)
    identity.check(workdir, config)
    return workdir
