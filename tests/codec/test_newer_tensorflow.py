"""SavedModels under a newer TensorFlow; `make newer-tensorflow-test` runs this file."""

from __future__ import annotations

import os
import pathlib
import subprocess

import numpy as np
import pytest

from tests.conftest import SMALL, cropped, golden_codec

WORKER = pathlib.Path(__file__).with_name("newer_tensorflow_worker.py")
PYTHON = os.environ.get("TFC_MODELS_NEWER_TENSORFLOW_PYTHON", "")


@pytest.mark.skipif(not PYTHON, reason="make newer-tensorflow-test runs this")
@pytest.mark.parametrize("name", sorted(SMALL))
def test_same_bits_and_same_image(name, tmp_path):
    codec = golden_codec(name)
    codec.save(str(tmp_path / "saved"))
    images = [cropped(512, 512), cropped(61, 203), cropped(1, 1)]
    files = [codec.compress(p) for p in images]
    inputs = {f"picture{i}": p for i, p in enumerate(images)}
    inputs |= {f"file{i}": np.frombuffer(f, np.uint8) for i, f in enumerate(files)}
    np.savez(tmp_path / "in.npz", **inputs)
    worker = [PYTHON, str(WORKER), "saved"]
    # Excludes the packages and settings of this environment.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    subprocess.run([*worker, "in.npz", "out.npz"], cwd=tmp_path, env=environment, check=True)
    with np.load(tmp_path / "out.npz") as outputs:
        assert str(outputs["version"]).startswith("2.17.")
        for i, (image, file) in enumerate(zip(images, files)):
            assert outputs[f"picture{i}"].tobytes() == file
            assert outputs[f"file{i}"].shape == image.shape
            difference = outputs[f"file{i}"].astype(int) - codec.decompress(file)
            assert np.abs(difference).max() <= 1
