"""Experiments whose results are in docs/: one program each."""
