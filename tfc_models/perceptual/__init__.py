"""Learned spaces in which pictures are as far apart as they are to people."""

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
    "PIM_MIN_SIDE",
    "Belief",
    "LaplacianPyramid",
    "Pim",
    "PimConfig",
    "SteerablePyramid",
    "divergence",
    "load_pim",
]
