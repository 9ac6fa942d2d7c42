"""What a training run of HiFiC is; see training.gan."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfc_models.metrics import METRICS
from tfc_models.models.distortion import parsed
from tfc_models.training import schedule
from tfc_models.training.config import AdversarialConfig


@dataclasses.dataclass(frozen=True)
class HificTraining(AdversarialConfig):
    """A training run in a stage of HiFiC's: without a critic, or with one (`adversarial`).

    The numbers are those of Mentzer, Toderici, Tschannen, Agustsson, "High-Fidelity Generative
    Image Compression" (NeurIPS 2020), in whose second stage `adversarial` is 0.15. Its rates of
    learning fall in a step: `decay` is the fraction, at the end, over which they are `last_rate`
    times their peak. The model's own `lmbda` and `distortion` are not used.

    Ours, and not the paper's: gradients are clipped (`clip_norm`), what is kept is a moving
    average (`average`), a spike is skipped (`spike`), and crops are scaled down by up to
    `downscale`; the configs say which of these to set. What cannot be set: half of the crops keep
    their pixels, where the paper scales all, to 0.75 to 0.95 of their size; the critic sees
    latents through asinh. LPIPS is that of the weights at hand; the paper's is of AlexNet.
    """

    start: str = "random"
    """random, or the path of a weights file of the same networks: that of the first stage."""
    target: float = 0.14
    """Bits per pixel that the controller aims at; the paper's other ones are 0.30 and 0.45."""
    scale: float = 0.1 * 2.0**-5
    """C, the weight of rate / λ + squared · MSE beside what people see."""
    squared: float = 0.75
    """Weight of the squared error, of pixels 0–255."""
    lambda_above: float = 0.1 * 2.0**-6
    """λ of a batch whose quantized bits per pixel are above the target: little, so that rate weighs
    much."""
    lambda_below: float = 0.1 * 2.0
    """λ of any other batch."""
    perceptual: str = "lpips"
    """What people see: a metric, or a weighted sum of some."""
    opening: float = 0.05
    """Fraction of the budget, at its beginning, during which both λ and the target are larger."""
    opening_lambda: float = 2.0
    """How many times λ, then."""
    opening_target: float = 0.20 / 0.14
    """How many times the target, then."""
    warmup: float = 0.0
    last_rate: float = 0.1
    spike: float = 30.0
    """As elsewhere, but larger: where the controller changes its mind a loss becomes many times
    what it was, and these are the very steps that matter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        least = max(METRICS[name].min_side for name in parsed(self.perceptual))
        if self.crop < least:
            raise ValueError(f"crop is {least} or more for {self.perceptual}; got {self.crop}.")
        if self.start != "random" and not self.start.endswith(".npz"):
            raise ValueError(f"start is random or a weights file; got {self.start!r}.")
        positive = ("target", "scale", "lambda_above", "lambda_below")
        for name in (*positive, "opening_lambda", "opening_target"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is above 0; got {getattr(self, name)}.")
        if not 0.0 <= self.squared < math.inf:
            raise ValueError(f"squared is 0 or more; got {self.squared}.")
        if not 0.0 <= self.opening <= 1.0:
            raise ValueError(f"opening is a fraction, 0 to 1; got {self.opening}.")

    @property
    def identity(self) -> dict[str, Any]:
        """See the base class."""
        return {**super().identity, "perceptual": self.perceptual}

    def learning_rates(self, fraction: float) -> dict[str, float]:
        """See the base class."""
        peaks = {**self.schedule, "last_rate": 1.0}
        times = self.last_rate if fraction >= 1.0 - self.decay else 1.0
        found = schedule.learning_rates(fraction, **peaks)
        return {kind: times * rate for kind, rate in found.items()}
