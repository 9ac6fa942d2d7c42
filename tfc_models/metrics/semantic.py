"""Weighted squared difference of deep features, with weights fitted to human judgments.

Chinen, Ballé, Gu, Hwang, Ioffe, Johnston, Leung, Minnen, O'Malley, Rosenberg, Toderici, "Towards A
Semantic Perceptual Image Metric" (ICIP 2018) fit such a metric on VGG-16 to 140,000 rated images.
Neither ratings nor weights were released. This is a substitute that is fitted to other ratings or
choices.
"""

from __future__ import annotations

import functools
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tfc_models.metrics.backbones import BACKBONES, Backbone
from tfc_models.metrics.lazy import tf
from tfc_models.metrics.pairs import as_float_batches
from tfc_models.metrics.record import Loaded, Metric, Weights
from tfc_models.remote import read_weights, write_weights

SEMANTIC_VARIABLE = "TFC_MODELS_SEMANTIC"
LINE, NETWORK = "semantic", "semantic_network"


class SemanticSubstitute:
    """Σ w · mean over positions of (features of a − features of b)², with w ≥ 0 per channel.

    Args:
        backbone: name of a network in `BACKBONES`, or another `Backbone`.
        weights: file or address of the network's weights (see `read_weights`).
        line: w, one per channel of each feature layer, concatenated; by default those that `save`
            stored with the weights.
    """

    def __init__(
        self,
        backbone: str | Backbone,
        weights: str | os.PathLike[str],
        line: np.ndarray | None = None,
    ) -> None:
        if isinstance(backbone, str) and backbone not in BACKBONES:
            raise ValueError(f"there is no network {backbone!r}; there are {', '.join(BACKBONES)}.")
        self.name = backbone if isinstance(backbone, str) else "of your own"
        self.backbone = BACKBONES[backbone] if isinstance(backbone, str) else backbone
        self.weights = read_weights(weights)
        self.weights.pop(NETWORK, None)
        kept = self.weights.pop(LINE, None)
        line = kept if line is None else np.asarray(line)
        if line is None:
            raise ValueError(f"{weights} has no fitted weights: see SemanticSubstitute.fitted.")
        count = sum(self.backbone.channels)
        if line.shape != (count,) or not np.all(line >= 0):
            raise ValueError(f"the weights of {self.name} are {count} numbers from 0 on.")
        self.line = line.astype(np.float32)

    def __call__(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """Returns one value per pair of two NHWC batches, sRGB 0 to 255; 0 at equality."""
        a, b = as_float_batches(a, b, self.backbone.min_side, f"the semantic metric ({self.name})")
        return tf.linalg.matvec(self._differences(a, b), self.line)

    @classmethod
    def fitted(
        cls,
        backbone: str | Backbone,
        weights: str | os.PathLike[str],
        a: np.ndarray,
        b: np.ndarray,
        ratings: np.ndarray,
        ridge: float = 1e-3,
        batch: int = 8,
    ) -> SemanticSubstitute:
        """Fits the weights to ratings, larger for pairs that look less alike.

        The fit is nonnegative least squares. `ridge`, relative to the mean square of the columns,
        keeps weights of correlated channels small. The size of the problem is the number of
        channels, not of pairs.
        """
        from scipy import linalg, optimize  # Commands read this module's record at start.

        if not len(a) == len(b) == len(ratings) > 1:
            raise ValueError("a fit needs one rating per pair, and two pairs or more.")
        metric = cls._unfitted(backbone, weights)
        count = len(metric.line)
        products, answers = np.zeros([count, count]), np.zeros(count)
        for i in range(0, len(a), batch):
            rows = metric._rows(a[i : i + batch], b[i : i + batch])
            products += rows.T @ rows
            answers += rows.T @ np.asarray(ratings[i : i + batch], np.float64)
        scale = np.sqrt(np.diag(products) / len(a)) + 1e-12
        products = products / np.outer(scale, scale) + ridge * len(a) * np.eye(count)
        root = linalg.cholesky(products)
        target = linalg.solve_triangular(root, answers / scale, trans="T")
        solution, _ = optimize.nnls(root, target)
        metric.line = (solution / scale).astype(np.float32)
        return metric

    @classmethod
    def fitted_to_choices(
        cls,
        backbone: str | Backbone,
        weights: str | os.PathLike[str],
        choices: Iterable[Any],
        ridge: float = 1e-3,
        batch: int = 16,
    ) -> SemanticSubstitute:
        """Fits the weights to choices: which of two patches looks more like a reference.

        The fit minimizes the cross entropy between the share of people who chose the second patch
        and σ(distance of the first − distance of the second).

        Args:
            backbone: as for the class.
            weights: as for the class.
            choices: choices as `perceptual.bapps.choices` reads them.
            ridge: weight of the squared weights, in units of the columns' deviations.
            batch: choices whose features are computed at once.
        """
        from scipy import optimize, special  # Commands read this module's record at start.

        metric = cls._unfitted(backbone, weights)
        rows, chosen = [], []
        for some in _batches(choices, batch):
            reference = np.stack([choice.reference for choice in some])
            first, second = (
                metric._rows(reference, np.stack([choice.patches[i] for choice in some]))
                for i in (0, 1)
            )
            rows.append((first - second).astype(np.float32))
            chosen += [choice.chosen for choice in some]
        if len(chosen) < 2:
            raise ValueError("a fit needs two choices or more.")
        design, shares = np.concatenate(rows), np.array(chosen, np.float32)
        rows.clear()  # For BAPPS this is a gigabyte.
        scale = np.sqrt(np.mean(np.square(design), axis=0)) + 1e-12
        design /= scale

        def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
            logits = design @ line.astype(np.float32)
            entropy = np.mean(np.logaddexp(0.0, logits) - shares * logits, dtype=np.float64)
            gradient = design.T @ (special.expit(logits) - shares) / len(shares)
            return entropy + 0.5 * ridge * line @ line, gradient + ridge * line

        start = np.full(len(scale), 1.0 / len(scale))
        bounds = [(0.0, None)] * len(scale)
        result = optimize.minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B")
        if not np.isfinite(result.fun):
            raise ValueError("the fit diverged: check that choices are shares from 0 to 1.")
        metric.line = (result.x / scale).astype(np.float32)
        return metric

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights of the backbone and the fitted weights to one npz."""
        own = {LINE: self.line, NETWORK: np.array(self.name)}
        write_weights(pathlib.Path(path), {**self.weights, **own})

    @classmethod
    def _unfitted(
        cls, backbone: str | Backbone, weights: str | os.PathLike[str]
    ) -> SemanticSubstitute:
        known = BACKBONES.get(backbone) if isinstance(backbone, str) else backbone
        return cls(backbone, weights, np.zeros(sum(known.channels) if known else 0))

    def _differences(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """Returns mean squared differences, pairs × channels of all layers."""
        pairs = zip(*(self.backbone.features(self.weights, batch) for batch in (a, b)))
        return tf.concat([tf.reduce_mean(tf.square(x - y), axis=(1, 2)) for x, y in pairs], -1)

    def _rows(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self._differences(tf.constant(a), tf.constant(b)).numpy().astype(np.float64)


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    items = iter(items)
    while some := list(itertools.islice(items, size)):
        yield some


def saved_semantic(source: str | os.PathLike[str]) -> SemanticSubstitute:
    """Returns the metric that `SemanticSubstitute.save` wrote."""
    name = str(read_weights(source).get(NETWORK, ""))
    if name not in BACKBONES:
        raise ValueError(
            f"{source} is not a saved semantic metric on {', '.join(BACKBONES)}: "
            "see SemanticSubstitute.save."
        )
    return SemanticSubstitute(name, source)


@functools.lru_cache(maxsize=4)
def _saved(source: str) -> SemanticSubstitute:
    return saved_semantic(source)


def semantic_of(weights: str | os.PathLike[str] | None = None) -> SemanticSubstitute:
    """Returns the metric of a file, or of the file that TFC_MODELS_SEMANTIC names."""
    source = weights or os.environ.get(SEMANTIC_VARIABLE)
    if not source:
        raise ValueError(
            "the semantic metric needs weights that were fitted: give their file, or set "
            f"{SEMANTIC_VARIABLE} to it; see docs/metrics.md."
        )
    return _saved(os.fspath(source))


def semantic(
    a: tf.Tensor, b: tf.Tensor, weights: str | os.PathLike[str] | None = None
) -> tf.Tensor:
    """Fitted distance of two NHWC batches, sRGB 0 to 255; 0 at equality. See `SemanticSubstitute`.

    Without `weights` it uses those that the environment variable TFC_MODELS_SEMANTIC names.
    """
    return semantic_of(weights)(a, b)


def _load(source: str) -> Loaded:
    fitted = saved_semantic(source)
    return Loaded(fitted, fitted.backbone.min_side)


RECORDS = [
    Metric(
        name="semantic",
        title="Semantic metric",
        axis_title="semantic metric",
        # The largest of the networks that it may use; with weights, that of their network.
        min_side=max(network.min_side for network in BACKBONES.values()),
        higher_is_better=False,
        digits=4,
        in_decibels=False,
        position=90,
        function=semantic,
        weights=Weights(SEMANTIC_VARIABLE, _load, semantic_of),
    )
]
