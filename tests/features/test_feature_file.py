"""Files of features give random access, and refuse damage in one line."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tests.features.conftest import built_layer, vectors
from tfc_models.byte_fields import DamagedFileError
from tfc_models.features import FeatureFile, FeatureWriter, write_features


def written(path, layer, features, block=8):
    write_features(path, layer, np.array_split(features, 3), block)
    return path


def test_examples_are_read_by_index_slice_and_list(layer, tmp_path):
    features = vectors(53)
    expected = layer.quantize(features)
    with FeatureFile(written(tmp_path / "f", layer, features), layer) as file:
        assert len(file) == 53
        for index in (0, 7, 8, 52, -1, -53, np.int64(5)):
            np.testing.assert_array_equal(file[index], expected[index])
        for index in (slice(None), slice(5, 20), slice(40, 2, -7), [50, 3, -2, 3], []):
            np.testing.assert_array_equal(file[index], expected[index])
        np.testing.assert_array_equal(np.stack(list(file)), expected)
        with pytest.raises(IndexError, match="no example 53: "):
            file[53]
        with pytest.raises(TypeError, match="an integer, a slice or a list"):
            file[1.5]


def test_maps_are_stored_with_their_shape(tmp_path):
    layer = built_layer("conditional", (2, 3, 6))
    features = vectors(11 * 6).reshape(11, 2, 3, 6)
    with FeatureFile(written(tmp_path / "f", layer, features, None)) as file:
        assert file[4].shape == (2, 3, 6)
        np.testing.assert_array_equal(file[:], layer.quantize(features))


def test_a_file_may_be_empty(factorized, tmp_path):
    write_features(tmp_path / "f", factorized, [])
    write_features(tmp_path / "g", factorized, [np.zeros((0, 6), np.float32)])
    for name in "fg":
        file = FeatureFile(tmp_path / name)
        assert (len(file), file[:].shape) == (0, (0, 6))


def test_a_failed_write_keeps_the_older_file(factorized, tmp_path):
    path = written(tmp_path / "f", factorized, vectors(9))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="NaN"), FeatureWriter(path, factorized) as writer:
        writer.write(vectors(2000))
        writer.write(np.full((1, 6), np.nan, np.float32))
    with pytest.raises(ValueError, match="have one shape"), FeatureWriter(path, factorized) as w:
        w.write(vectors(6))
        w.write(vectors(6).reshape(1, 2, 3, 6))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_values_that_are_not_finite_are_refused_at_once(factorized, tmp_path):
    features = np.zeros([2, factorized.coder.channels], np.float32)
    with FeatureWriter(tmp_path / "f.tfcf", factorized) as writer:
        writer.write(features)
        with pytest.raises(ValueError, match="NaN"):
            writer.write(np.full_like(features, np.nan))
        writer.close()
    assert len(FeatureFile(tmp_path / "f.tfcf")) == 2


def test_a_file_of_another_layer_is_refused(factorized, tmp_path):
    path = written(tmp_path / "f", factorized, vectors(9))
    for other in (built_layer(seed=1), built_layer("conditional"), built_layer(shape=(7,))):
        with pytest.raises(ValueError, match="written with another layer: open it without") as e:
            FeatureFile(path, other)
        assert "\n" not in str(e.value)
    assert len(FeatureFile(path)) == 9


def test_every_damaged_byte_is_noticed(layer, tmp_path):
    path = written(tmp_path / "f", layer, vectors(20))
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in [*range(14), *rng.integers(len(data), size=150), *range(len(data) - 30, len(data))]:
        damaged = bytearray(data)
        damaged[at] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match=": use an intact copy") as error:
            FeatureFile(path)[:]
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("size", [0, 5, 40, 300, -1])
def test_a_cut_file_is_refused(factorized, tmp_path, size):
    path = written(tmp_path / "f", factorized, vectors(20))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DamagedFileError, match="use an intact copy"):
        FeatureFile(path)


def test_damage_of_a_block_leaves_the_others(factorized, tmp_path):
    path = written(tmp_path / "f", factorized, vectors(20))
    file = FeatureFile(path)
    start = int(file._offsets[1])
    data = bytearray(path.read_bytes())
    data[start] ^= 1
    path.write_bytes(data)
    file = FeatureFile(path)
    assert file[:8].shape == (8, 6) and file[16:].shape == (4, 6)
    with pytest.raises(DamagedFileError, match="checksum of block 1"):
        file[9]


def test_forged_sizes_are_refused_before_memory_is_allocated(factorized, tmp_path):
    path = written(tmp_path / "f", factorized, vectors(20))
    data = path.read_bytes()
    forged = data[:-20] + (2**40).to_bytes(8, "little") + data[-12:-4]
    end = forged[-16 - 3 * 8 :]
    path.write_bytes(forged + zlib.crc32(end).to_bytes(4, "little"))
    with pytest.raises(DamagedFileError, match="index does not match"):
        FeatureFile(path)
