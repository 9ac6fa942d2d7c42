"""Codes images with a SavedModel under a newer TensorFlow and saves the results.

python tests/codec/newer_tensorflow_worker.py SAVED_MODEL INPUTS.npz OUTPUTS.npz
"""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import numpy as np
import tensorflow as tf

from tfc_models.codec import register_ops


def main(model: str, inputs: str, outputs: str) -> None:
    register_ops()
    signatures = tf.saved_model.load(model).signatures
    results = {"version": np.array(tf.__version__)}
    with np.load(inputs) as arrays:
        for name, array in arrays.items():
            if name.startswith("picture"):
                image = tf.constant(array)
                data = signatures["compress_tensor"](image=image)["bitstream_bytes"]
                results[name] = np.frombuffer(data.numpy(), np.uint8)
            else:
                data = tf.constant(array.tobytes())
                image = signatures["decompress_tensor"](bitstream_bytes=data)["image"]
                results[name] = image.numpy()
    np.savez(outputs, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
