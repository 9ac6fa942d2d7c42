"""Learned spaces in which pictures are as far apart as they are to people."""

from tfc_models.perceptual.divergences import DIVERGENCES, Divergence, divergence_named
from tfc_models.perceptual.pim import (
    PIM_MIN_SIDE,
    Belief,
    Pim,
    PimConfig,
    divergence,
    load_pim,
)
from tfc_models.perceptual.pyramids import LaplacianPyramid, SteerablePyramid

__all__ = [
    "DIVERGENCES",
    "PIM_MIN_SIDE",
    "Belief",
    "Divergence",
    "LaplacianPyramid",
    "Pim",
    "PimConfig",
    "SteerablePyramid",
    "divergence",
    "divergence_named",
    "load_pim",
]
