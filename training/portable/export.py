"""Exports a config's training step to a machine without TensorFlow; see README.md in this folder.

    python -m training.portable.export --config gained_stem4 \
        --data IMAGES --output STEP_DIR --set batch=32 --bfloat16

The initial weights are those of the config: fitted to --data, random, or from a file
(--set start=weights.npz).
"""

from __future__ import annotations

import pathlib

import tensorflow as tf
from absl import flags, logging

from tfc_models import models
from tfc_models.cli import absl_programs
from tfc_models.training import config as configs
from tfc_models.training.trainer import Trainer
from training.portable import step

_CONFIG = flags.DEFINE_string(
    "config", None, "name in tfc_models.training.configs, or file that sets CONFIG", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "folder for the step", required=True)
_DATA = flags.DEFINE_string("data", None, "training images for the linear start")
_SET = flags.DEFINE_multi_string(
    "set", [], "change of the config: key=value, or arguments.key=value for the model"
)
_STEPS_PER_CALL = flags.DEFINE_integer(
    "steps_per_call", 10, "default number of steps per call of the runner", lower_bound=1
)
_FLOAT16 = flags.DEFINE_bool(
    "float16", False, "round large arrays of weights to 16 bits, which halves the size"
)
_BFLOAT16 = flags.DEFINE_bool("bfloat16", False, "multiply in bfloat16, for GPUs that support it")


def export() -> None:
    """Exports a step with the flags' settings."""
    config = configs.read(_CONFIG.value, _SET.value)
    if config.start == "linear" and not _DATA.value:
        raise ValueError("the linear start needs --data; or set start=random, or start=FILE.")
    tf.keras.utils.set_random_seed(config.seed)
    model = models.build(config.model, **config.arguments)
    # The config's "auto" would select by the exporting machine.
    model.set_bfloat16("on" if _BFLOAT16.value else "off")
    trainer = Trainer(model, config)
    trainer.start(_DATA.value)
    folder = pathlib.Path(_OUTPUT.value)
    manifest = step.write(trainer, folder, _STEPS_PER_CALL.value, _FLOAT16.value)
    megabytes = sum(p.stat().st_size for p in folder.iterdir()) / 1e6
    logging.info("%s: %d variables, %.1f MB", folder, len(manifest["inputs"]) - 2, megabytes)
    logging.info("next, with jax: python %s, then %s", folder / "convert.py", folder / "runner.py")


if __name__ == "__main__":
    absl_programs.run(export)
