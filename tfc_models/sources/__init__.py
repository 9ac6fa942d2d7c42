"""Small sources with known optimal codes, and codes to compare on them.

This package imports `layers` and top-level modules of tfc_models only.
"""

from __future__ import annotations

from tfc_models.sources.codes import klt, linear, lloyd, nonlinear, vector_quantizer
from tfc_models.sources.compressors import Coded, Compressor, TransformCode, VectorQuantizer
from tfc_models.sources.figures import Figures, measured
from tfc_models.sources.optimum import (
    circle_cells,
    circle_cost,
    sawbridge_cells,
    sawbridge_entropy,
    sawbridge_water_filling,
    water_filling,
)
from tfc_models.sources.processes import (
    Ramp,
    RandomFunction,
    Sawbridge,
    Sinusoid,
    Sphere,
    banana,
    laplace,
)

__all__ = [
    "Coded",
    "Compressor",
    "Figures",
    "Ramp",
    "RandomFunction",
    "Sawbridge",
    "Sinusoid",
    "Sphere",
    "TransformCode",
    "VectorQuantizer",
    "banana",
    "circle_cells",
    "circle_cost",
    "klt",
    "laplace",
    "linear",
    "lloyd",
    "measured",
    "nonlinear",
    "sawbridge_cells",
    "sawbridge_entropy",
    "sawbridge_water_filling",
    "vector_quantizer",
    "water_filling",
]
