"""The command line, `tfc-models`. `tfc-models --help` says what it does."""

from tfc_models.cli.program import main

__all__ = ["main"]
