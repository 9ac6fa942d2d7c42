"""Perceptual distances learned from videos, and judgments of metrics.

This package imports `layers` and top-level modules of tfc_models only.
"""

from tfc_models.perceptual.beliefs import Belief, BeliefModel
from tfc_models.perceptual.pim import PIM_MIN_SIDE, Pim, PimConfig, load_pim
from tfc_models.perceptual.pim_bands import PimBands, PimBandsConfig, divergence, load_pim_bands
from tfc_models.perceptual.pyramids import LaplacianPyramid, SteerablePyramid
from tfc_models.perceptual.released import load_released

__all__ = [
    "PIM_MIN_SIDE",
    "Belief",
    "BeliefModel",
    "LaplacianPyramid",
    "Pim",
    "PimBands",
    "PimBandsConfig",
    "PimConfig",
    "SteerablePyramid",
    "divergence",
    "load_pim",
    "load_pim_bands",
    "load_released",
]
