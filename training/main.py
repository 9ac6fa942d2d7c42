"""Trains a model; see training/configs.

    python -m training.main --config training/configs/mbt2018_mean.py --workdir OUT \
        --data PICTURES --validation OTHER_PICTURES --minutes 60

Kill it at any time: the same command goes on where the last checkpoint was. OUT/weights.npz
holds the moving average of the weights from every checkpoint (training.publish makes a model
of the zoo of it), OUT/tensorboard what TensorBoard shows.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import tensorflow as tf
from absl import app, flags, logging

from tfc_models import models
from training import config as configs
from training import data
from training.run import Run, Stopped
from training.trainer import Trainer

IDENTITY = "config.json"

_CONFIG = flags.DEFINE_string("config", None, "file that sets CONFIG", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "checkpoints, weights, logs", required=True)
_DATA = flags.DEFINE_string(
    "data", None, "pictures: a folder, a glob, or tfds:NAME[:SPLIT]", required=True
)
_VALIDATION = flags.DEFINE_string("validation", None, "folder of whole pictures, not of --data")
_STEPS = flags.DEFINE_integer("steps", None, "budget, in place of the config's", lower_bound=1)
_MINUTES = flags.DEFINE_float("minutes", None, "budget, in place of the config's", lower_bound=0)
_SET = flags.DEFINE_multi_string("set", [], "key=value of the config; arguments.key=value")
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    "none",
    ["none", "mirrored", "multiworker"],
    "several devices, or workers (TF_CONFIG)",
)


def strategy_of(name: str) -> tf.distribute.Strategy:
    """The distribution strategy that a flag names."""
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def configured() -> configs.Config:
    """The config of the flags."""
    changes = list(_SET.value)
    if _STEPS.value is not None and _MINUTES.value is not None:
        raise ValueError("give --steps or --minutes, not both.")
    changes += [f"steps={_STEPS.value}"] if _STEPS.value is not None else []
    changes += [f"minutes={_MINUTES.value}"] if _MINUTES.value is not None else []
    return configs.read(_CONFIG.value, changes)


def identity(config: configs.Config) -> dict[str, Any]:
    """What a run cannot go on with another of."""
    return {"model": config.model, "optimizer": config.optimizer, **config.arguments}


def check_workdir(workdir: pathlib.Path, config: configs.Config) -> None:
    """Refuses to go on with another model than the one that the folder holds."""
    path, ours = workdir / IDENTITY, identity(config)
    if path.exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(
            k for k in {*ours, *theirs} if json.dumps(ours.get(k)) != json.dumps(theirs.get(k))
        )
        if changed:
            raise ValueError(
                f"{workdir} holds a run with another {', '.join(changed)}: "
                "choose another --workdir."
            )


def check_apart(source: str, validation: str | None) -> None:
    """Refuses to train on the pictures that are to judge."""
    if source.startswith("tfds:"):
        return
    trained = {p.resolve() for p in data.find(source)}
    if validation and (common := trained & {p.resolve() for p in data.find(validation)}):
        raise ValueError(
            f"{len(common)} pictures of --validation are in --data, {min(common).name} for one: "
            "what is trained on cannot judge."
        )


def train() -> None:
    """Trains as the flags say."""
    config = configured()
    check_apart(_DATA.value, _VALIDATION.value)
    workdir = pathlib.Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    strategy = strategy_of(_STRATEGY.value)
    check_workdir(workdir, config)
    with strategy.scope():
        tf.keras.utils.set_random_seed(config.seed)
        model = models.build(config.model, **config.arguments)
        model.set_bfloat16(config.bfloat16)
        trainer = Trainer(model, config)
    (workdir / IDENTITY).write_text(json.dumps(identity(config), indent=2) + "\n", "utf-8")
    run = Run(trainer, workdir, _DATA.value, _VALIDATION.value)
    if not run.restore():
        trainer.start(_DATA.value)
    run.train()


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise app.UsageError(f"what is {argv[1]!r}? Everything is a flag; see --help.")
    try:
        train()
    except (ValueError, OSError, TypeError, Stopped) as error:
        logging.error("%s", str(error).strip().splitlines()[0])
        sys.exit(getattr(error, "exit_code", 1))


if __name__ == "__main__":
    app.run(main)
