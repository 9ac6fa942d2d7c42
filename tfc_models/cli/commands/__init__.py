"""Commands of `tfc-models`. Each module defines DESCRIPTION, `add_options` and `run`."""
