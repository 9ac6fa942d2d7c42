"""Serving library: TF Serving's protocol, batching, the page, a client, and work on Apache Beam.

Called by `tfc-models serve` and `tfc-models bulk`, and by the programs in the repository's
serving/ folder. Imports everything below it in the library, but neither tfc_models.cli nor
tfc_models.training, and no command-line flags.
"""
