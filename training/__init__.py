"""Training programs; see docs/training.md. The library that they call is tfc_models.training."""

from tfc_models.training import BEGAN

__all__ = ["BEGAN"]  # Imported before anything else, as start-up time is measured from it.
