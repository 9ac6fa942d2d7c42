"""Commands of `tfc-models`, a module each, with DESCRIPTION, `add_options` and `run`."""
