"""Rate-distortion curves, BD-rates, plots, knees of curves, and known trade-offs.

This package imports the records of `metrics` only. It needs neither models nor TensorFlow.
"""

from tfc_models.analysis.bd_rate import NoOverlapError, bd_rate, pareto
from tfc_models.analysis.curves import METRICS, Curve, Metric, Point, decibels, published
from tfc_models.analysis.knee import below_chord, knee
from tfc_models.analysis.laplacian import laplacian_divergence
from tfc_models.analysis.plots import rd_plot, save_plot

__all__ = [
    "METRICS",
    "Curve",
    "Metric",
    "NoOverlapError",
    "Point",
    "bd_rate",
    "below_chord",
    "decibels",
    "knee",
    "laplacian_divergence",
    "pareto",
    "published",
    "rd_plot",
    "save_plot",
]
