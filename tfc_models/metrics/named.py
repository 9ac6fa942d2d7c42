"""All metrics of pairs by their names, for those who let others choose."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfc_models.metrics.backbones import BACKBONES
from tfc_models.metrics.learned import Lpips, lpips
from tfc_models.metrics.nlpd import NLPD_MIN_SIDE, nlpd
from tfc_models.metrics.perceptual import LEARNED, pim, pim_bands
from tfc_models.metrics.psnr import mse, psnr
from tfc_models.metrics.semantic import saved_semantic, semantic
from tfc_models.metrics.structural import (
    MS_SSIM_MIN_SIDE,
    SSIM_MIN_SIDE,
    ms_ssim,
    ms_ssim_distance,
    ssim,
    ssim_distance,
)
from tfc_models.perceptual import PIM_MIN_SIDE
from tfc_models.remote import LPIPS_VARIABLE, SEMANTIC_VARIABLE

Function = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Metric(NamedTuple):
    """A metric of two batches.

    Attributes:
        function: the metric.
        least: side of the smallest picture that it takes.
        distance: from 0, at equality, up; the metric itself where it is one.
        softened: the distance with a softness as third argument, for minimizing it from afar;
            None where that needs no help.
    """

    function: Function
    least: int
    distance: Function
    softened: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor] | None = None

    def of_pair(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """The metric of two batches of one; not a number where they are too small for it."""
        large = tf.reduce_min(tf.shape(a)[1:3]) >= self.least
        return tf.cond(large, lambda: self.function(a, b)[0], lambda: math.nan)


def _distance(function: Function, least: int) -> Metric:
    return Metric(function, least, function)


METRICS = {
    "mse": _distance(mse, 1),
    "psnr": Metric(psnr, 1, mse),
    "ssim": Metric(ssim, SSIM_MIN_SIDE, ssim_distance),
    "ms-ssim": Metric(ms_ssim, MS_SSIM_MIN_SIDE, ms_ssim_distance),
    "nlpd": Metric(nlpd, NLPD_MIN_SIDE, nlpd, softened=nlpd),
    "lpips": _distance(lpips, 17),
    "pim": _distance(pim, PIM_MIN_SIDE),
    "pim-bands": _distance(pim_bands, PIM_MIN_SIDE),
    # As much as any of its networks needs; `named` knows which one it is.
    "semantic": _distance(semantic, max(net.least for net in BACKBONES.values())),
}


def named(
    name: str,
    lpips_weights: str | os.PathLike[str] | None = None,
    pim_weights: str | os.PathLike[str] | None = None,
    semantic_weights: str | os.PathLike[str] | None = None,
    pim_bands_weights: str | os.PathLike[str] | None = None,
) -> Metric:
    """The metric of that name.

    Args:
        name: a key of `METRICS`.
        lpips_weights: for LPIPS; without them those that TFC_MODELS_LPIPS names.
        pim_weights: for PIM; without them those that TFC_MODELS_PIM names, or those shipped.
        semantic_weights: what `SemanticSubstitute.save` wrote; without them those that
            TFC_MODELS_SEMANTIC names.
        pim_bands_weights: for PIM-bands; without them those that TFC_MODELS_PIM_BANDS names, or
            those shipped.
    """
    if name not in METRICS:
        raise ValueError(f"there is no metric {name!r}; the metrics are: {', '.join(METRICS)}.")
    source = lpips_weights or os.environ.get(LPIPS_VARIABLE)
    if name == "lpips" and source:
        network = Lpips(source)
        return _distance(network, network.backbone.least)
    if name in LEARNED:
        learned = LEARNED[name]
        given = pim_weights if name == "pim" else pim_bands_weights
        source = given or os.environ.get(learned.variable)
        if source:
            function = functools.partial(METRICS[name].function, model=learned.load(source))
            return _distance(function, PIM_MIN_SIDE)
    source = semantic_weights or os.environ.get(SEMANTIC_VARIABLE)
    if name == "semantic" and source:
        fitted = saved_semantic(source)
        return _distance(fitted, fitted.backbone.least)
    return METRICS[name]
