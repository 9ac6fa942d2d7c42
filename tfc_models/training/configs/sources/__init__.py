"""Configs of codes for small sources: tfc_models.training.config.SourceTraining."""
