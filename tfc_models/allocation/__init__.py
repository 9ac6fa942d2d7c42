"""Allocation of a budget over a set of images: one option, such as a quality, per image.

`program` and `solve` work with arrays of any origin. `Measurer` measures images at candidates, and
`Goal` makes the program of measurements. This package imports `evaluation` and the packages below
it, not `cli`.
"""

from tfc_models.allocation.candidates import Candidate, CodecSettings
from tfc_models.allocation.goals import Goal, Totals, best_single, metric_names, totals
from tfc_models.allocation.measurements import Measurement, Measurements, measure
from tfc_models.allocation.measuring import Measured, Measurer, MeasuringSettings, Workers
from tfc_models.allocation.programs import Allocation, InfeasibleError, Limit, Program, program
from tfc_models.allocation.solving import METHODS, solve

__all__ = [
    "METHODS",
    "Allocation",
    "Candidate",
    "CodecSettings",
    "Goal",
    "InfeasibleError",
    "Limit",
    "Measured",
    "Measurement",
    "Measurements",
    "Measurer",
    "MeasuringSettings",
    "Program",
    "Totals",
    "Workers",
    "best_single",
    "measure",
    "metric_names",
    "program",
    "solve",
    "totals",
]
