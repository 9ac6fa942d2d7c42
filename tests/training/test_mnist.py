"""MNIST is read from published files and divided the same way every time."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from tfc_models.training import mnist


def _write(folder, names, count):
    images, labels = (folder / name for name in names)
    pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
    head = bytes([0, 0, 8, 3]) + np.array(pixels.shape, ">u4").tobytes()
    images.write_bytes(gzip.compress(head + pixels.tobytes(), 1))
    classes = (np.arange(count) % 10).astype(np.uint8)
    labels.write_bytes(
        gzip.compress(bytes([0, 0, 8, 1, *count.to_bytes(4, "big")]) + bytes(classes))
    )
    return pixels


def test_the_test_set_alone_is_divided_in_three(tmp_path):
    pixels = _write(tmp_path, mnist.TEST_FILES, 10000)
    splits = mnist.load(str(tmp_path))
    assert [len(part.labels) for part in splits[:3]] == [7000, 1000, 2000]
    sums = np.concatenate([part.images.sum((1, 2, 3)) for part in splits[:3]])
    np.testing.assert_allclose(np.sort(sums), np.sort(pixels.sum((1, 2)) / 255.0), rtol=1e-5)
    np.testing.assert_array_equal(mnist.load(str(tmp_path)).test.labels, splits.test.labels)
    assert splits.training.images.shape == (7000, 28, 28, 1)


def test_the_whole_set_keeps_its_test_set(tmp_path):
    _write(tmp_path, mnist.TRAINING_FILES, 60000)
    pixels = _write(tmp_path, mnist.TEST_FILES, 10000)
    splits = mnist.load(str(tmp_path))
    assert [len(part.labels) for part in splits[:3]] == [55000, 5000, 10000]
    assert splits.test.images.sum() == pytest.approx(pixels.sum() / 255.0, rel=1e-3)


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="t10k-images"):
        mnist.load(str(tmp_path))
    _write(tmp_path, mnist.TEST_FILES, 10000)
    (tmp_path / mnist.TEST_FILES[1]).write_bytes(b"no gzip")
    with pytest.raises(ValueError, match=r"t10k-labels.*damaged"):
        mnist.load(str(tmp_path))
