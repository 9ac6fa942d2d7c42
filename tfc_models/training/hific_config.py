"""Settings of HiFiC training runs; see training.gan."""

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
    """Settings of a training run in one of HiFiC's stages, with a critic if `adversarial` > 0.

    The defaults are those of Mentzer, Toderici, Tschannen, Agustsson, "High-Fidelity Generative
    Image Compression" (NeurIPS 2020), whose second stage has `adversarial` 0.15. Learning rates
    fall in one step: `decay` is the fraction at the end of the budget over which they are
    `last_rate` times their peak. The model's own `lmbda` and `distortion` are not used.

    Differences from the paper that settings can undo: gradients are clipped (`clip_norm`), the
    saved weights are a moving average (`average`), spikes are skipped (`spike`), and crops are
    scaled down by up to `downscale`. The configs state the values that match the paper. Other
    differences: half of the crops keep their resolution, where the paper scales all to 0.75 to 0.95
    of their size; the critic reads latents through asinh; LPIPS uses the installed weights, where
    the paper uses AlexNet's.
    """

    start: str = "random"
    """Initial weights: random, or the path of a weights file of the same networks, e.g. from the
    first stage."""
    target: float = 0.14
    """Target rate of the controller in bits per pixel; the paper's others are 0.30 and 0.45."""
    scale: float = 0.1 * 2.0**-5
    """C, the weight of rate / λ + squared · MSE relative to the perceptual distance."""
    squared: float = 0.75
    """Weight of the squared error of pixels from 0 to 255."""
    lambda_above: float = 0.1 * 2.0**-6
    """λ for batches whose quantized rate is above the target. It is small, so that the rate has a
    large weight."""
    lambda_below: float = 0.1 * 2.0
    """λ for all other batches."""
    perceptual: str = "lpips"
    """Perceptual distance: a metric, or a weighted sum of metrics."""
    opening: float = 0.05
    """Fraction at the start of the budget during which λ and the target are larger."""
    opening_lambda: float = 2.0
    """Factor of λ during the opening."""
    opening_target: float = 0.20 / 0.14
    """Factor of the target during the opening."""
    warmup: float = 0.0
    last_rate: float = 0.1
    spike: float = 30.0
    """A step is skipped if its loss exceeds the running mean by this factor. It is larger than in
    other configs, because the loss multiplies whenever the controller switches λ, and those steps
    matter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        minimum = max(METRICS[name].min_side for name in parsed(self.perceptual))
        if self.crop < minimum:
            raise ValueError(
                f"crop must be at least {minimum} for {self.perceptual}; got {self.crop}."
            )
        if self.start != "random" and not self.start.endswith((".npz", ".tfcw")):
            raise ValueError(f"start must be random or a weights file; got {self.start!r}.")
        positive = ("target", "scale", "lambda_above", "lambda_below")
        for name in (*positive, "opening_lambda", "opening_target"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0; got {getattr(self, name)}.")
        if not 0.0 <= self.squared < math.inf:
            raise ValueError(f"squared must be 0 or more; got {self.squared}.")
        if not 0.0 <= self.opening <= 1.0:
            raise ValueError(f"opening must be a fraction, 0 to 1; got {self.opening}.")

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that must not change when a run resumes."""
        return {**super().identity, "perceptual": self.perceptual}

    def learning_rates(self, fraction: float) -> dict[str, float]:
        """Returns the learning rate of each group; the decay is a single step."""
        constant = schedule.learning_rates(fraction, **{**self.schedule, "last_rate": 1.0})
        factor = self.last_rate if fraction >= 1.0 - self.decay else 1.0
        return {group: factor * rate for group, rate in constant.items()}
