"""Selects the training function for the class of a config."""

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
from tfc_models.training.decoder_config import DecoderTraining
from tfc_models.training.feature_config import FeatureTraining
from tfc_models.training.hific_config import HificTraining
from tfc_models.training.narrowing_config import NarrowingTraining
from tfc_models.training.weight_config import WeightTraining

MODULES: dict[type[RunConfig], str] = {
    Config: "codec",
    HificTraining: "hific",
    RealismTraining: "realism",
    NarrowingTraining: "narrowing",
    DecoderTraining: "decoder",
    PimTraining: "pim",
    SourceTraining: "source_codes",
    WeightTraining: "weight_curve",
    FeatureTraining: "feature_ladder",
}
OF_NETWORKS = WeightTraining, FeatureTraining
"""Classes of configs of classifiers, whose data include validation images."""
"""Training module for each config class. A module is imported when its run begins."""


def check(
    config: RunConfig, source: str | None, validation: str | None, strategy: str = "none"
) -> None:
    """Raises ValueError for data or a strategy that the config's class does not support."""
    if isinstance(config, SourceTraining):
        if source or validation:
            raise ValueError(f"the config draws samples of {config.source}: leave out --data.")
    elif not source:
        raise ValueError("this config needs training data: give --data.")
    if isinstance(config, OF_NETWORKS) and validation:
        raise ValueError("the network's data include validation images: leave out --validation.")
    if strategy != "none" and isinstance(config, (SourceTraining, PimTraining, *OF_NETWORKS)):
        raise ValueError("--strategy is only for runs on images.")


def train(
    config: RunConfig,
    workdir: pathlib.Path,
    source: str | None = None,
    validation: str | None = None,
    strategy: str = "none",
) -> None:
    """Trains with the function for the config's class.

    Args:
        config: settings of the run.
        workdir: folder for checkpoints, weights and logs.
        source: training data: images (see tfc_models.training.data), or pairs of frames (see
            tfc_models.training.pim); None if the config names a source of samples.
        validation: validation data in the same form, or None.
        strategy: distribution strategy; only for runs on images.
    """
    check(config, source, validation, strategy)
    module = importlib.import_module(f"tfc_models.training.{MODULES[type(config)]}")
    if isinstance(config, SourceTraining):
        module.train_and_measure(config, workdir)
    elif isinstance(config, WeightTraining):
        assert source is not None
        module.measure(config, source, workdir)
    elif isinstance(config, FeatureTraining):
        assert source is not None
        module.run(config, source.split(","), workdir)
    elif isinstance(config, PimTraining):
        module.train(config, workdir, source, validation)
    else:
        module.train(config, workdir, source, validation, strategy)
