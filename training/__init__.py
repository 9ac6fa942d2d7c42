"""Training programs; see docs/training.md. What they do is in tfc_models.training."""

from tfc_models.training import BEGAN

__all__ = ["BEGAN"]  # Imported first: start-up time counts from here.
