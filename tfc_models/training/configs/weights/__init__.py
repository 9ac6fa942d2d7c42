"""Configs of networks with compressible weights: tfc_models.training.weight_config."""
