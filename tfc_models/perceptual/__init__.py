"""Perceptual distances learned from videos, critics with f-divergences, and judgments of metrics.

This package imports `layers` and top-level modules of tfc_models only.
"""

from tfc_models.perceptual.beliefs import Belief, BeliefModel
from tfc_models.perceptual.critics import BeliefCritic, PatchCritic, SpectralConv2D
from tfc_models.perceptual.divergences import DIVERGENCES, Divergence, divergence_named
from tfc_models.perceptual.pim import PIM_MIN_SIDE, Pim, PimConfig, load_pim
from tfc_models.perceptual.pim_bands import PimBands, PimBandsConfig, divergence, load_pim_bands
from tfc_models.perceptual.pyramids import LaplacianPyramid, SteerablePyramid
from tfc_models.perceptual.released import load_released

__all__ = [
    "DIVERGENCES",
    "PIM_MIN_SIDE",
    "Belief",
    "BeliefCritic",
    "BeliefModel",
    "Divergence",
    "LaplacianPyramid",
    "PatchCritic",
    "Pim",
    "PimBands",
    "PimBandsConfig",
    "PimConfig",
    "SpectralConv2D",
    "SteerablePyramid",
    "divergence",
    "divergence_named",
    "load_pim",
    "load_pim_bands",
    "load_released",
]
