"""Configs of replacement decoders: tfc_models.training.decoder_config.DecoderTraining."""
