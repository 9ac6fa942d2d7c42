"""Settings of training runs of replacement decoders; see training.decoder."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfc_models.metrics import METRICS
from tfc_models.models.distortion import parsed
from tfc_models.training.config import (
    CodingConfig,
    check_rate,
    identity_of_base,
    schedule_settings,
)


@dataclasses.dataclass(frozen=True)
class DecoderTraining(CodingConfig):
    """Settings of a training run of a decoder that replaces the synthesis of a fixed model.

    `arguments` are not used: the widths are those of `start`.
    """

    base: str = "default"
    """Model whose files are decoded: a name in the zoo, or the path of published weights."""
    start: str = ""
    """Decoder file with the initial weights and the widths; if empty, training starts as the base's
    decoder."""
    distortion: str = "mse"
    """Training loss: a metric, or a weighted sum of metrics, as "0.0005*mse + lpips"."""
    qualities: tuple[float, float] = (0.0, 100.0)
    """Minimum and maximum quality in training, for variable-rate models."""
    fixed_qualities: tuple[float, ...] = ()
    """Qualities in training, in place of all those from the minimum to the maximum."""
    rate: float = 1e-4
    """Learning rate."""
    validation_rates: tuple[float, ...] = (15.0, 30.0, 60.0)
    """Qualities at which decoders of variable-rate models are validated."""
    last_rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(self.rate)
        minimum = max(METRICS[name].min_side for name in parsed(self.distortion))
        if self.crop < minimum:
            raise ValueError(
                f"crop must be at least {minimum} for {self.distortion}; got {self.crop}."
            )
        if self.arguments:
            raise ValueError(
                "arguments must be empty: the widths are those of the decoder file in start; got "
                f"{', '.join(self.arguments)}."
            )
        for name in ("qualities", "fixed_qualities", "validation_rates"):
            values = getattr(self, name)
            if not all(0.0 <= value <= 100.0 for value in values):
                raise ValueError(f"{name} must be 0 to 100; got {values}.")
        if len(self.qualities) != 2 or self.qualities[0] > self.qualities[1]:
            raise ValueError(f"qualities must be a minimum and a maximum; got {self.qualities}.")

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that must not change when a run resumes."""
        base = identity_of_base(self.base)
        settings = {"base": base, "start": self.start, "distortion": self.distortion}
        return {**super().identity, **settings}

    @property
    def schedule(self) -> dict[str, Any]:
        """Arguments of `tfc_models.training.schedule.learning_rates`."""
        return schedule_settings({"model": self.rate}, self)
