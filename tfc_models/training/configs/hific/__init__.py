"""Configs of HiFiC's two stages: tfc_models.training.hific_config.HificTraining."""
