"""Comparisons of compressible features with the compression of others."""
