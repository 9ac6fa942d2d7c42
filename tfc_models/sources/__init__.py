"""Toy sources, and what the best codes of them reach."""

from tfc_models.sources.optimum import (
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
    "Ramp",
    "RandomFunction",
    "Sawbridge",
    "Sinusoid",
    "Sphere",
    "banana",
    "laplace",
    "sawbridge_cells",
    "sawbridge_entropy",
    "sawbridge_water_filling",
    "water_filling",
]
