"""Kinds of training runs, by the class of their configs."""

from __future__ import annotations

import importlib
import pathlib

from tfc_models.training.config import (
    Config,
    PimTraining,
    RealismTraining,
    RunConfig,
    SourceTraining,
)
from tfc_models.training.hific_config import HificTraining

MODULES: dict[type[RunConfig], str] = {
    Config: "codec",
    HificTraining: "hific",
    RealismTraining: "realism",
    PimTraining: "pim",
    SourceTraining: "source_codes",
}
"""Modules that train each kind, imported when a run begins."""


def check(
    config: RunConfig, source: str | None, validation: str | None, strategy: str = "none"
) -> None:
    """Refuses data, or a strategy, that a kind of config does not take."""
    if isinstance(config, SourceTraining):
        if source or validation:
            raise ValueError(f"the config draws samples of {config.source}: leave out --data.")
    elif not source:
        raise ValueError("this config needs training data: give --data.")
    if strategy != "none" and isinstance(config, (SourceTraining, PimTraining)):
        raise ValueError("--strategy is for runs on pictures.")


def train(
    config: RunConfig,
    workdir: pathlib.Path,
    source: str | None = None,
    validation: str | None = None,
    strategy: str = "none",
) -> None:
    """Trains by the kind of a config.

    Args:
        config: of the run.
        workdir: for checkpoints, weights and logs.
        source: training data: pictures (see tfc_models.training.data), or pairs of frames (see
            tfc_models.training.pim); None where the config names a source of samples.
        validation: data that the run does not train on, of the same form, or None.
        strategy: of several devices; only for runs on pictures.
    """
    check(config, source, validation, strategy)
    module = importlib.import_module(f"tfc_models.training.{MODULES[type(config)]}")
    if isinstance(config, SourceTraining):
        module.outcomes_of(config, workdir)
    elif isinstance(config, PimTraining):
        module.train(config, workdir, source, validation)
    else:
        module.train(config, workdir, source, validation, strategy)
