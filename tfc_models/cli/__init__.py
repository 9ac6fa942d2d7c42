"""Command line of the package: `tfc-models`.

Each command is a module of tfc_models.cli.commands. This package may import every other package
of the library. It imports TensorFlow and optional packages only when a command needs them.
"""
