"""Learned spaces in which pictures are as far apart as they are to people."""

from tfc_models.perceptual.critics import BeliefCritic, PatchCritic, SpectralConv2D
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
    "BeliefCritic",
    "Divergence",
    "LaplacianPyramid",
    "PatchCritic",
    "Pim",
    "PimConfig",
    "SpectralConv2D",
    "SteerablePyramid",
    "divergence",
    "divergence_named",
    "load_pim",
]
