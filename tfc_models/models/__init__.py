"""Models by name, one file per paper: transforms and an entropy coder, and their wiring.

Imports `tfc_models.entropy`, `layers`, `metrics` and `perceptual`.
"""

from tfc_models.models import (
    bls2017,
    bmshj2018,
    cheng2020,
    elic2022,
    gained,
    gained_context,
    gained_shallow,
    hific,
    kirmemis2020,
    mbt2018,
    ms2020,
)
from tfc_models.models.base import STRIDE, CompressionModel, Output
from tfc_models.models.registry import build, names, register, stable_names

__all__ = [
    "STRIDE",
    "CompressionModel",
    "Output",
    "bls2017",
    "bmshj2018",
    "build",
    "cheng2020",
    "elic2022",
    "gained",
    "gained_context",
    "gained_shallow",
    "hific",
    "kirmemis2020",
    "mbt2018",
    "ms2020",
    "names",
    "register",
    "stable_names",
]
