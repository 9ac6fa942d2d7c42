"""Settings of trainings of networks with compressible weights; see training.weights."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfc_models.training.config import RunConfig, check_rate, schedule_settings
from tfc_models.training.weight_networks import NETWORKS
from tfc_models.weights.rounded_weight import PRIORS


@dataclasses.dataclass(frozen=True)
class WeightTraining(RunConfig):
    """Settings of a curve of file size against error, and of the methods it is compared with.

    `model` is a network of `tfc_models.training.weight_networks`. `steps` are those of every
    training: of the network, of its compressible copies, and of pruned ones.
    """

    batch: int = 128
    rate: float = 1e-3
    """Learning rate."""
    rate_weights: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    """Weights of the rate; each is trained from the network without compression."""
    prior: str = "factorized"
    """Prior of the latents (see `tfc_models.weights.rounded_weight`)."""
    removed: tuple[float, ...] = (0.8, 0.9, 0.95, 0.98)
    """Shares of weights that pruning removes."""
    cluster_bits: int = 5
    """Bits of the values that pruned weights share."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(self.rate)
        if not self.steps:
            raise ValueError("a curve of file sizes has a budget in steps per training.")
        if self.model not in NETWORKS:
            raise ValueError(f"model is one of {', '.join(NETWORKS)}; got {self.model!r}.")
        if not all(0.0 < rate < math.inf for rate in self.rate_weights):
            raise ValueError(f"rate_weights are above 0; got {self.rate_weights}.")
        if self.prior not in PRIORS:
            raise ValueError(f"prior is one of {', '.join(PRIORS)}; got {self.prior!r}.")
        if not all(0.0 < share < 1.0 for share in self.removed):
            raise ValueError(f"removed are shares, between 0 and 1; got {self.removed}.")

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
            "prior",
            "seed",
        )
        settings = {name: getattr(self, name) for name in names}
        return {**super().identity, **settings, "cluster_bits": self.cluster_bits}

    @property
    def schedule(self) -> dict[str, Any]:
        """Arguments of `tfc_models.training.schedule.learning_rates`."""
        return schedule_settings({"model": self.rate}, self)
