"""Records of image metrics: what commands, training and evaluation need to know about each.

A module of this package that defines metrics lists their records in `RECORDS`; `registry` collects
them. Importing a record does not import TensorFlow.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tfc_models.metrics.lazy import tf
from tfc_models.remote import digest_of

PairFunction = Callable[["tf.Tensor", "tf.Tensor"], "tf.Tensor"]
"""Metric of two NHWC batches, sRGB 0 to 255: one value per pair."""
SoftenedFunction = Callable[["tf.Tensor", "tf.Tensor", "tf.Tensor"], "tf.Tensor"]
ImagePairFunction = Callable[[np.ndarray, np.ndarray], float]
"""Metric of two images, sRGB uint8, height × width × 3."""


class Loaded(NamedTuple):
    """Metric with the weights of one file, and the minimum image side of its network."""

    function: PairFunction
    min_side: int


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights file of a metric.

    Attributes:
        variable: environment variable that names a file or an address.
        load: returns the metric with the weights of a file or an address.
        prepare: loads and caches the default weights. Raises ValueError if there are none.
        shipped: file in the package; None if the user must provide one.
    """

    variable: str
    load: Callable[[str], Loaded]
    prepare: Callable[[], object]
    shipped: pathlib.Path | None = None

    def source(self, override: str | os.PathLike[str] | None = None) -> str | None:
        """Returns the file or address to load: `override`, or the environment's, or the shipped."""
        named = os.fspath(override) if override else os.environ.get(self.variable)
        return named or (str(self.shipped) if self.shipped else None)

    def digest(self) -> str:
        """Returns the digest of the default weights; of an address, the address itself."""
        return digest_of(self.source() or "")


@dataclasses.dataclass(frozen=True)
class Description:
    """Properties that metrics of this package and of other projects have in common.

    Attributes:
        name: name in commands, configurations and tables of results.
        title: heading of table columns, and name in messages.
        axis_title: title of plot axes; the unit follows a comma.
        min_side: smallest image side that the metric accepts.
        higher_is_better: False for distances.
        digits: decimals that matter.
        in_decibels: whether plots and BD-rates show −10·log10(1 − value).
        position: sorts lists and tables; 100 for metrics without a reason to be elsewhere.
    """

    name: str
    title: str
    axis_title: str
    min_side: int
    higher_is_better: bool
    digits: int
    in_decibels: bool
    position: int

    @property
    def scale(self) -> Callable[[float], float]:
        """Conversion of a value for plots and BD-rates."""
        return decibels_of if self.in_decibels else float

    @property
    def key(self) -> str:
        """Key of the metric's values in results: the name with underscores."""
        return self.name.replace("-", "_")


@dataclasses.dataclass(frozen=True)
class Metric(Description):
    """Differentiable metric of two batches.

    Attributes:
        function: the metric, with its default weights.
        distance_function: variant that is 0 at equality and grows with the difference; None if
            `function` is one.
        softened: distance with a softness as third argument, to minimize it from a distant start;
            None if that needs no help.
        weights: weights file; None for metrics without one.
        squared_error_per_unit: decrease in squared error that comes with a decrease of 1 in the
            distance. It scales lambdas and the terms of an encoder search. None: the metric has no
            default lambda and cannot be searched for.
    """

    function: PairFunction
    distance_function: PairFunction | None = None
    softened: SoftenedFunction | None = None
    weights: Weights | None = None
    squared_error_per_unit: float | None = None

    @property
    def distance(self) -> PairFunction:
        """Distance of two batches: 0 at equality."""
        return self.distance_function or self.function

    @property
    def heading(self) -> str:
        """Heading of a table column of values: title and unit."""
        _, _, unit = self.axis_title.partition(", ")
        return f"{self.title} {unit}" if unit and not self.in_decibels else self.title

    @property
    def missing_weights(self) -> str:
        """Error message for missing weights; empty if the metric has weights or needs none."""
        if self.weights is None or self.weights.source():
            return ""
        return (
            f"{self.title} needs its weights: give --weights {self.name}=FILE, "
            f"or set {self.weights.variable}"
        )

    def with_weights(self, source: str | os.PathLike[str] | None = None) -> Metric:
        """Returns the metric with weights of a file or address; without one, the default weights.

        Raises:
            ValueError: the file does not hold the metric's weights.
            OSError: the file cannot be read.
        """
        if self.weights is None:
            return self
        named = source or os.environ.get(self.weights.variable)
        if not named:
            return self
        function, min_side = self.weights.load(os.fspath(named))
        return dataclasses.replace(
            self, function=function, distance_function=None, min_side=min_side
        )

    def of_pair(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """Returns the metric of two batches of one image each; NaN if they are too small."""
        large = tf.reduce_min(tf.shape(a)[1:3]) >= self.min_side
        return tf.cond(large, lambda: self.function(a, b)[0], lambda: math.nan)


@dataclasses.dataclass(frozen=True)
class ExternalMetric(Description):
    """Metric of another project, computed by an optional package or program.

    Attributes:
        load: returns the metric. Raises MissingError if the package or program is missing.
        identity: returns what changes when values may change; None: the name.
    """

    load: Callable[[], ImagePairFunction]
    identity: Callable[[], str] | None = None


def decibels_of(similarity: float) -> float:
    """Returns −10·log10(1 − similarity)."""
    return -10.0 * math.log10(1.0 - similarity) if similarity < 1.0 else math.inf
