"""Configs of compression models: tfc_models.training.config.Config."""
