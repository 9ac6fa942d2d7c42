"""Registers the range coder's operations, without importing tensorflow_compression."""

from __future__ import annotations

import importlib.util
import pathlib


def register_ops() -> str:
    """Loads the op library that a SavedModel of a codec needs; returns its path.

    Call it before `tf.saved_model.load`. It finds `tensorflow_compression` (or
    `tensorflow_compression_ops`, the package for newer TensorFlow) without importing it.
    """
    import tensorflow as tf

    # TensorFlow identifies libraries by their path strings. A library that is loaded by a second
    # string has no operations, so these are the strings that the packages themselves use.
    for package, cc in (
        ("tensorflow_compression", "python/ops/../../cc"),
        ("tensorflow_compression_ops", "cc"),
    ):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        folder = pathlib.Path(spec.origin).parent / cc
        for library in sorted(folder.glob("libtensorflow_compression*.so")):
            tf.load_op_library(str(library))
            return str(library)
    raise ImportError(
        "no library of range coder operations: pip install tensorflow-compression "
        "(or tensorflow-compression-ops, for TensorFlow 2.15 and later)."
    )
