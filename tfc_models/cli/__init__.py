"""The command line, `tfc-models`. `tfc-models --help` says what it does.

Each command is a module of tfc_models.cli.commands. Imports everything else in the library;
TensorFlow, and packages of extras, only when a command needs them.
"""
