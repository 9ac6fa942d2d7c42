"""Default limits on image sizes, for reading images and decoding files."""

DEFAULT_MAX_PIXELS = 2**26
"""Default limit of pixels: 64 megapixels."""
DEFAULT_MAX_SIDE = 2**15
"""Default limit of the longer side."""
