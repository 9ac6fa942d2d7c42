"""Configs of realism decoders: tfc_models.training.config.RealismTraining."""
