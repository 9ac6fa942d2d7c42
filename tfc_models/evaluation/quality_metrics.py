"""Metrics to choose by name, for measuring coded pictures beside PSNR and MS-SSIM."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from tfc_models import analysis
from tfc_models.analysis import Metric
from tfc_models.evaluation import external
from tfc_models.evaluation.packages import CVVDP, MissingError
from tfc_models.remote import LPIPS_VARIABLE, SEMANTIC_VARIABLE, digest_of


class QualityMetric(NamedTuple):
    """A metric of an original and a coded picture.

    Attributes:
        shown: how tables, plots and BD-rates take it.
        identity: changes when values may: name, version, weights.
        of_pair: the metric of two pictures, sRGB uint8, height × width × 3; None where they
            are too small for it.
    """

    shown: Metric
    identity: str
    of_pair: Callable[[np.ndarray, np.ndarray], float | None]

    @property
    def name(self) -> str:
        """The key of its values."""
        return self.shown.name


def _distance(name: str, title: str, digits: int) -> Metric:
    return Metric(name, title, digits=digits, higher_is_better=False)


ALWAYS = ("psnr", "ms-ssim")
"""Metrics that every measurement has."""
FURTHER = {
    "ssim": Metric("ssim", "SSIM (RGB), dB", analysis.decibels),
    "nlpd": _distance("nlpd", "NLPD", 4),
    "lpips": _distance("lpips", "LPIPS", 4),
    "pim": _distance("pim", "PIM", 3),
    "pim-bands": _distance("pim_bands", "PIM-bands", 3),
    "semantic": _distance("semantic", "semantic metric", 4),
    "ssimulacra2": Metric("ssimulacra2", "SSIMULACRA 2"),
    "butteraugli": _distance("butteraugli", "Butteraugli (3-norm)", 3),
    "cvvdp": Metric("cvvdp", "ColorVideoVDP, JOD", digits=3),
}
"""Metrics that can be asked for, by their names on the command line."""
SHOWN = {**dict(zip(ALWAYS, analysis.METRICS)), **FURTHER}
"""All of them."""
# Weights that are no part of the package, by the variables that name them.
VARIABLES = {"lpips": LPIPS_VARIABLE, "semantic": SEMANTIC_VARIABLE}
# Metrics of other projects, with the least side that they take.
EXTERNAL: dict[str, tuple[Callable[[], external.PairMetric], int]] = {
    "ssimulacra2": (external.ssimulacra2, 8),
    "butteraugli": (external.butteraugli, 1),
    "cvvdp": (external.cvvdp, 8),
}


def quality_metric(name: str, weights: Mapping[str, str | None] | None = None) -> QualityMetric:
    """The metric of that name, ready to measure.

    Args:
        name: a key of `FURTHER`.
        weights: files or addresses of weights by the names of metrics; without them those of
            the environment, or those shipped.

    Raises:
        MissingError: its package, program or weights are missing; the message has the remedy.
    """
    if name in EXTERNAL:
        return _external(name)
    return _own(name, weights or {})


def _external(name: str) -> QualityMetric:
    load, least = EXTERNAL[name]
    measure = load()
    identity = f"{CVVDP.version}, {external.CVVDP_DISPLAY}" if name == "cvvdp" else name

    def of_pair(original: np.ndarray, coded: np.ndarray) -> float | None:
        return measure(original, coded) if min(original.shape[:2]) >= least else None

    return QualityMetric(FURTHER[name], identity, of_pair)


def _own(name: str, weights: Mapping[str, str | None]) -> QualityMetric:
    source = weights.get(name) or os.environ.get(VARIABLES.get(name, ""))
    if name in VARIABLES and not source:
        raise MissingError(
            f"{FURTHER[name].short} needs its weights: give --{name} FILE, or set {VARIABLES[name]}"
        )
    from tfc_models import metrics  # Needs TensorFlow, which takes seconds to import.
    from tfc_models.metrics.perceptual import LEARNED

    metric = metrics.named(
        name, *(weights.get(n) for n in ("lpips", "pim", "semantic", "pim-bands"))
    )
    if name in LEARNED:
        source = source or LEARNED[name].source

    def of_pair(original: np.ndarray, coded: np.ndarray) -> float | None:
        value = float(metric.of_pair(original[None], coded[None]))
        return None if math.isnan(value) else value

    identity = f"{name} {digest_of(source)}" if source else name
    return QualityMetric(FURTHER[name], identity, of_pair)
