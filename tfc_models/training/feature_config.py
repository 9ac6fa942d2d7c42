"""Settings of training networks with compressible features; see training.features."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfc_models.features.layer import PRIORS, QUANTIZATIONS
from tfc_models.training.config import RunConfig, check_rate, schedule_settings

TASKS = ("mnist", "retrieval")


@dataclasses.dataclass(frozen=True)
class FeatureTraining(RunConfig):
    """Settings of a comparison of features: a ladder of λ and the baselines, for several seeds.

    `model` is the task; `arguments` are those of `tfc_models.training.feature_tasks`.
    """

    batch: int = 100
    rate: float = 5e-3
    further_steps: int = 600
    """Steps with the layer, from a network that was trained without it for `steps`. The
    uncompressed network is trained further, too."""
    weights: tuple[float, ...] = ()
    """Weights λ of the bits in the loss."""
    priors: tuple[str, ...] = ("factorized",)
    """Priors of the layer; each is trained with all weights."""
    quantization: str = "noise"
    """Substitute for rounding in training (see `CompressibleFeatures`)."""
    seeds: int = 3
    """Number of trainings with different seeds, from `seed` on."""
    ranks: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Numbers of principal components of the baseline."""
    steps_of_pca: tuple[float, ...] = (1.4, 1.0, 0.7, 0.5, 0.3, 0.15, 0.07)
    """Quantization steps of the baseline, relative to the first component's deviation."""
    books: tuple[tuple[int, int], ...] = ((1, 16), (2, 16), (2, 64), (4, 64), (8, 64))
    """Parts and codewords of product quantization."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(self.rate)
        if not self.steps:
            raise ValueError("a comparison of features has a budget in steps per training.")
        if self.further_steps < 1:
            raise ValueError(f"further_steps is at least 1; got {self.further_steps}.")
        if self.seeds < 1:
            raise ValueError(f"seeds is the number of seeds, at least 1; got {self.seeds}.")
        if not all(0.0 < weight < math.inf for weight in self.weights):
            raise ValueError(f"weights are above 0; got {self.weights}.")
        if self.quantization not in QUANTIZATIONS:
            known = ", ".join(QUANTIZATIONS)
            raise ValueError(f"quantization is one of {known}; got {self.quantization!r}.")
        if not set(self.priors) <= set(PRIORS):
            raise ValueError(f"priors are of {', '.join(PRIORS)}; got {', '.join(self.priors)}.")

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that must not change when a run resumes."""
        names = (
            "steps",
            "batch",
            "rate",
            "warmup",
            "decay",
            "last_rate",
            "clip_norm",
            "further_steps",
            "quantization",
        )
        return {**super().identity, **{name: getattr(self, name) for name in names}}

    @property
    def schedule(self) -> dict[str, Any]:
        """Arguments of `tfc_models.training.schedule.learning_rates`."""
        return schedule_settings({"model": self.rate}, self)
