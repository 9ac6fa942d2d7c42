"""Files of compressed weights hold tensors exactly and refuse damage."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tfc_models import weights
from tfc_models.byte_fields import DamagedFileError, FieldReader, FieldWriter
from tfc_models.entropy.integer_tables import IntegerTables
from tfc_models.weights import CodedTensor, fourier
from tfc_models.weights.rounding import rounded_tensor
from tfc_models.weights.steps import nearest_codes, steps_of


def _coded(shape, transform="direct", scale=3.0, seed=0):
    rng = np.random.default_rng(seed)
    rows = int(np.prod(shape[:-2] if transform == "fourier" else shape[:-1]))
    integers = np.rint(rng.normal(0.0, scale, (rows, int(np.prod(shape)) // rows)))
    row_codes = rng.integers(-40, -20, rows)
    return CodedTensor(shape, integers.astype(np.int32), row_codes, np.array([-7]), transform)


def _tensors():
    rng = np.random.default_rng(1)
    return {
        "dense/kernel": _coded((40, 30)),
        "conv/kernel": _coded((5, 3, 8, 6), "fourier"),
        "conv/bias": _coded((6,), scale=0.1),
        "table": rng.integers(-999, 999, (7, 5)).astype(np.int32),
        "offset": rng.normal(size=9).astype(np.float16),
        "scalar": np.array(3, np.uint16),
        "empty": CodedTensor((3, 0), np.zeros((3, 0), np.int32), np.array([1]), np.array([1])),
    }


def test_decoding_returns_every_tensor_exactly():
    tensors = _tensors()
    content = weights.decode(weights.encode(tensors, {"model": "m", "widths": [1, 2]}))
    assert content.metadata == {"model": "m", "widths": [1, 2]}
    for name, value in content.values().items():
        expected = tensors[name]
        expected = expected.value if isinstance(expected, CodedTensor) else expected
        np.testing.assert_array_equal(value, expected, name)
        assert value.dtype == expected.dtype


def test_values_do_not_depend_on_the_machine():
    values = weights.decode(weights.encode(_tensors(), {})).values()
    sha = hashlib.sha256()
    for name in ("dense/kernel", "conv/kernel", "conv/bias"):
        sha.update(values[name].astype("<f4").tobytes())
    assert sha.hexdigest()[:16] == "adeccdcb56ba5ed7"


def test_most_of_a_file_is_the_entropy_of_the_integers():
    tensor = _coded((300, 400))
    counts = np.unique(tensor.integers, return_counts=True)[1]
    entropy = -np.log2(counts / counts.sum()) @ counts / 8
    size = len(weights.encode({"kernel": tensor}, {}))
    assert entropy < size < 1.02 * entropy + 400


def test_the_transform_of_a_kernel_is_orthonormal():
    for sides in ((5,), (3, 3), (4, 2)):
        basis = fourier.basis(sides)
        np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-6)
        taps = np.random.default_rng(0).normal(size=(len(basis), 7))
        np.testing.assert_allclose(fourier.inverse(basis @ taps, sides), taps, atol=1e-5)


def test_steps_are_within_an_eighth_of_what_they_stand_for():
    steps = np.geomspace(1e-9, 1e9, 200)
    np.testing.assert_allclose(steps_of(nearest_codes(steps)), steps, rtol=0.126)
    with pytest.raises(ValueError, match="positive"):
        nearest_codes(np.array([0.1, 0.0]))


def test_damage_is_refused_with_one_line():
    data = weights.encode(_tensors(), {"model": "m"})
    rng = np.random.default_rng(2)
    for _ in range(100):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= rng.integers(1, 256)
        with pytest.raises(DamagedFileError) as caught:
            weights.decode(bytes(damaged))
        assert "\n" not in str(caught.value)
    for length in (0, 3, 5, 12, len(data) - 1):
        with pytest.raises(DamagedFileError):
            weights.decode(data[:length])


def test_forged_contents_with_a_valid_checksum_are_refused_or_decoded():
    """A changed byte under a new checksum must not hang, crash or exhaust the memory."""
    data = weights.encode({"kernel": _coded((50, 40)), "bias": _coded((40,))}, {})
    rng = np.random.default_rng(3)
    for _ in range(100):
        forged = bytearray(data[:-8])
        forged[rng.integers(5, len(forged))] ^= rng.integers(1, 256)
        forged += hashlib.sha256(forged).digest()[:8]
        try:
            weights.decode(bytes(forged))
        except DamagedFileError as error:
            assert "\n" not in str(error)


def test_integers_that_no_table_holds_are_refused_before_writing():
    integers = np.array([[0, 5, 100_000]], np.int32)
    one = np.zeros(1, np.int32)
    with pytest.raises(ValueError, match="use a larger step"):
        weights.encode({"kernel": CodedTensor((3,), integers, one, one)}, {})
    with pytest.raises(ValueError, match="kernel has values beyond 2\\^24 steps"):
        rounded_tensor(np.array([1.0, -1.0]), 1e-10, "direct", "kernel")


def test_files_may_hold_no_integers_and_large_arrays():
    assert weights.decode(weights.encode({}, {})).tensors == {}
    tensors = {
        "a": np.zeros(20_000_000, np.float32),
        "n": np.array(7),
        "b": np.array([True, False]),
    }
    values = weights.decode(weights.encode(tensors, {})).values()
    for name, value in tensors.items():
        np.testing.assert_array_equal(values[name], value)
        assert values[name].dtype == value.dtype


def test_tables_of_a_forged_file_have_a_limit():
    writer = FieldWriter()
    writer.unsigned(2 * 100)
    for _ in range(100):
        writer.signed(0)
        writer.unsigned(2**16)
        writer.unsigned(8)
        writer.unsigned(0)
        writer.unsigned(2**16 - 1)
    with pytest.raises(DamagedFileError, match="too large"):
        IntegerTables.read(FieldReader(writer.finish()))


def test_tensors_that_cannot_be_stored_are_named():
    with pytest.raises(ValueError, match="bias has the type complex64"):
        weights.encode({"bias": np.zeros(3, np.complex64)}, {})
    with pytest.raises(ValueError, match="one for each row"):
        weights.encode({"kernel": _coded((4, 5))._replace(row_codes=np.arange(3))}, {})
