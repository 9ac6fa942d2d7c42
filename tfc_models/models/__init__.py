"""One file a paper: layers and an entropy coder, wired."""

from tfc_models.models import bls2017, bmshj2018, gained, gained_context, hific, mbt2018, ms2020
from tfc_models.models.base import STRIDE, CompressionModel, Output
from tfc_models.models.registry import build, names

__all__ = [
    "STRIDE",
    "CompressionModel",
    "Output",
    "bls2017",
    "bmshj2018",
    "build",
    "gained",
    "gained_context",
    "hific",
    "mbt2018",
    "ms2020",
    "names",
]
