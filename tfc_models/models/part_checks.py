"""Checks of the parts that a model is composed of."""

from __future__ import annotations

from typing import Any

from tfc_models.entropy import FactorizedPrior, LatentCoder
from tfc_models.layers import Chain


def check_parts(name: str, analysis: Any, synthesis: Any, coder: Any) -> None:
    """Raises an error for parts that a model does not support."""
    for part, network in (("analysis", analysis), ("synthesis", synthesis)):
        if not isinstance(network, Chain):
            raise TypeError(
                f"{name}: {part} is a tfc_models.layers.Chain; got {type(network).__name__}."
            )
        if network.filters is None:
            raise ValueError(f"{name}: no layer of the {part} has a number of filters.")
    if synthesis.filters != 3:
        raise ValueError(f"{name}: the synthesis ends in 3 channels; got {synthesis.filters}.")
    if not isinstance(coder, (FactorizedPrior, LatentCoder)):
        raise TypeError(
            f"{name}: the coder is a class of tfc_models.entropy; got {type(coder).__name__}."
        )
