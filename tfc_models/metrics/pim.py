"""PIM and PIM-bands: distances learned from videos (see `tfc_models.perceptual`)."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tfc_models.metrics.lazy import tf
from tfc_models.metrics.pairs import as_float_batches
from tfc_models.metrics.record import Loaded, Metric, Weights

if TYPE_CHECKING:
    from tfc_models.perceptual import BeliefModel

PIM_VARIABLE, PIM_BANDS_VARIABLE = "TFC_MODELS_PIM", "TFC_MODELS_PIM_BANDS"
MIN_SIDE = 24
SHIPPED = pathlib.Path(__file__).parents[1] / "perceptual" / "weights"


@dataclasses.dataclass(frozen=True)
class Learned:
    """Metric whose weights are in the package.

    Attributes:
        name: name of the metric.
        title: name in messages.
        load: returns the model of a weights file.
        weights: file in the package.
        variable: environment variable that names another file.
    """

    name: str
    title: str
    load: Callable[..., BeliefModel]
    weights: pathlib.Path
    variable: str

    @property
    def source(self) -> str:
        """File that the environment names, or the one in the package."""
        return os.environ.get(self.variable) or str(self.weights)

    def load_metric(self, source: str) -> Loaded:
        """Returns the metric with the weights of a file or an address."""
        return Loaded(functools.partial(_distance, self.name, model=self.load(source)), MIN_SIDE)

    @property
    def record_of_weights(self) -> Weights:
        """Record of the weights, for the metric's record."""
        prepare = functools.partial(default_model, self.name)
        return Weights(self.variable, self.load_metric, prepare, self.weights)


def _load_pim(source: str | os.PathLike[str]) -> BeliefModel:
    from tfc_models.perceptual import load_pim  # Imports TensorFlow.

    return load_pim(source)


def _load_pim_bands(source: str | os.PathLike[str], **settings: Any) -> BeliefModel:
    from tfc_models.perceptual import load_pim_bands  # Imports TensorFlow.

    return load_pim_bands(source, **settings)


LEARNED = {
    "pim": Learned("pim", "PIM", _load_pim, SHIPPED / "pim.npz", PIM_VARIABLE),
    "pim-bands": Learned(
        "pim-bands", "PIM-bands", _load_pim_bands, SHIPPED / "pim-bands.npz", PIM_BANDS_VARIABLE
    ),
}


@functools.lru_cache(maxsize=4)
def _loaded(name: str, source: str) -> BeliefModel:
    with tf.init_scope():
        return LEARNED[name].load(source)


def default_model(name: str) -> BeliefModel:
    """Returns the cached model with the weights that the environment names, or those shipped."""
    return _loaded(name, LEARNED[name].source)


def pim(a: tf.Tensor, b: tf.Tensor, model: BeliefModel | None = None) -> tf.Tensor:
    """PIM of sRGB 0–255 NHWC batches, 0 at equality: see `tfc_models.perceptual.Pim`.

    Without a `model` it uses the weights that TFC_MODELS_PIM names, or those in the package.
    """
    return _distance("pim", a, b, model)


def pim_bands(a: tf.Tensor, b: tf.Tensor, model: BeliefModel | None = None) -> tf.Tensor:
    """PIM-bands of sRGB 0–255 NHWC batches, 0 at equality: see `tfc_models.perceptual.PimBands`.

    Without a `model` it uses the weights that TFC_MODELS_PIM_BANDS names, or those in the package.
    It needs about a gigabyte of memory per megapixel.
    """
    return _distance("pim-bands", a, b, model)


def _distance(name: str, a: tf.Tensor, b: tf.Tensor, model: BeliefModel | None = None) -> tf.Tensor:
    a, b = as_float_batches(a, b, MIN_SIDE, LEARNED[name].title)
    return (model or default_model(name)).distance(a, b)


RECORDS = [
    Metric(
        name="pim",
        title="PIM",
        axis_title="PIM",
        min_side=MIN_SIDE,
        higher_is_better=False,
        digits=3,
        in_decibels=False,
        position=70,
        function=pim,
        weights=LEARNED["pim"].record_of_weights,
        # Measured: see tfc_models.models.distortion.
        squared_error_per_unit=250.0,
    ),
    Metric(
        name="pim-bands",
        title="PIM-bands",
        axis_title="PIM-bands",
        min_side=MIN_SIDE,
        higher_is_better=False,
        digits=3,
        in_decibels=False,
        position=80,
        function=pim_bands,
        weights=LEARNED["pim-bands"].record_of_weights,
        # Measured: see tfc_models.models.distortion.
        squared_error_per_unit=38.0,
    ),
]
