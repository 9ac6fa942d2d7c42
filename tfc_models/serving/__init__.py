"""Serving library: server with TF Serving's protocol, web page, client, and Apache Beam pipeline.

`tfc-models serve`, `tfc-models bulk` and the programs in the repository's serving/ folder use it.
It imports neither tfc_models.cli nor tfc_models.training, and defines no command-line flags.
"""
