"""Configs of PIM and PIM-bands: tfc_models.training.config.PimTraining."""
