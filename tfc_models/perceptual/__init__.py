"""Learned spaces in which pictures are as far apart as they are to people."""

from tfc_models.perceptual.pim import (
    PIM_MIN_SIDE,
    Belief,
    Pim,
    PimConfig,
    divergence,
    load_pim,
)

__all__ = ["PIM_MIN_SIDE", "Belief", "Pim", "PimConfig", "divergence", "load_pim"]
