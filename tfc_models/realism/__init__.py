"""Realism: decoders that add detail to the reconstructions of a model, and their training.

A realism decoder reads the same files as the model's own synthesis. Critics with f-divergences
measure how far reconstructions are from images; see `tfc_models.training` for the training itself.

This package imports `models`, `perceptual`, `layers` and top-level modules of tfc_models.
"""

from tfc_models.realism.critics import BeliefCritic, PatchCritic, SpectralConv2D
from tfc_models.realism.decoder import RealismDecoder
from tfc_models.realism.divergences import DIVERGENCES, Divergence, divergence_named
from tfc_models.realism.gated_residual import GatedResidual, latent_noise, openings

__all__ = [
    "DIVERGENCES",
    "BeliefCritic",
    "Divergence",
    "GatedResidual",
    "PatchCritic",
    "RealismDecoder",
    "SpectralConv2D",
    "divergence_named",
    "latent_noise",
    "openings",
]
