"""Training of compression models."""

from __future__ import annotations

import pathlib

from tfc_models import models
from tfc_models.layers import setting_for_gradients
from tfc_models.training import image_run
from tfc_models.training.config import Config
from tfc_models.training.trainer import Trainer


def train(
    config: Config,
    workdir: pathlib.Path,
    source: str,
    validation: str | None = None,
    strategy: str = "none",
) -> None:
    """Trains a compression model; see `image_run.train`."""

    def build() -> Trainer:
        model = models.build(config.model, **config.arguments)
        model.set_bfloat16(setting_for_gradients(config.bfloat16))
        return Trainer(model, config)

    image_run.train(config, workdir, source, validation, strategy, build)
