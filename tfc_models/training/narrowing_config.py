"""Settings of training runs that remove channels of decoders; see training.narrow_decoder."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfc_models.training.config import check_rate, schedule_settings
from tfc_models.training.decoder_config import DecoderTraining


@dataclasses.dataclass(frozen=True)
class NarrowingTraining(DecoderTraining):
    """Settings of a training run that removes channels of a decoder."""

    target: float = 0.5
    """Cost of the decoder at the end, as a fraction of that of the model's own synthesis."""
    layer_seconds: str = ""
    """JSON file with the measured time of each layer, by which channels cost time; if empty, they
    cost multiplications (see tfc_models.decoders.costs)."""
    penalty: float = 20.0
    """Weight of the gates' magnitudes. A gate is weighted by the fraction of the cost that removing
    its channel saves."""
    gate_rate: float = 5e-3
    """Learning rate of the gates."""
    multiple: int = 8
    """Numbers of channels are multiples of this one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(self.gate_rate)
        if not 0.0 < self.target < 1.0:
            raise ValueError(f"target must be a fraction between 0 and 1; got {self.target}.")
        if not 0.0 < self.penalty < math.inf:
            raise ValueError(f"penalty must be above 0; got {self.penalty}.")
        if self.multiple < 1:
            raise ValueError(f"multiple must be 1 or more; got {self.multiple}.")

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that must not change when a run resumes."""
        settings = {"target": self.target, "multiple": self.multiple}
        return {**super().identity, **settings, "layer_seconds": self.layer_seconds}

    @property
    def schedule(self) -> dict[str, Any]:
        """Arguments of `tfc_models.training.schedule.learning_rates`."""
        return schedule_settings({"model": self.rate, "gates": self.gate_rate}, self)
