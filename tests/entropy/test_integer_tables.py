"""Integers are coded exactly with tables that are stored beside them."""

from __future__ import annotations

import numpy as np
import pytest

from tfc_models.byte_fields import DamagedFileError, FieldReader, FieldWriter
from tfc_models.entropy.integer_tables import IntegerTables


def _normal(scale, shape, seed=0):
    return np.rint(np.random.default_rng(seed).normal(0.0, scale, shape)).astype(np.int32)


def _stored(tables):
    writer = FieldWriter()
    tables.write(writer)
    data = writer.finish()
    reader = FieldReader(data)
    result = IntegerTables.read(reader)
    assert reader.remaining == 0
    return result, data


@pytest.mark.parametrize("scale", [0.0, 0.2, 3.0, 300.0])
def test_stored_tables_decode_integers_near_their_entropy(scale):
    values = _normal(scale, (5, 4000)) + 17
    tables, data = _stored(IntegerTables.of_integers([values]))
    strings = tables.encode(values, 0)
    np.testing.assert_array_equal(tables.decode(strings, 0, 4000), values)
    counts = np.unique(values, return_counts=True)[1]
    entropy = -np.log2(counts / values.size) @ counts
    assert 8 * sum(map(len, strings)) < 1.02 * entropy + 5 * 40
    assert len(data) < 4 * (np.ptp(values) + 2)


def test_each_column_may_have_its_own_table():
    groups = [_normal(scale, (3, 100), seed) for seed, scale in enumerate((0.5, 8.0, 40.0))]
    values = np.stack(groups, axis=-1).reshape(3, 300)
    tables = IntegerTables.of_integers(groups)
    columns = np.tile(np.arange(3), 100)
    strings = tables.encode(values, columns)
    np.testing.assert_array_equal(tables.decode(strings, columns, 300), values)


def test_an_escape_codes_any_integer():
    tables, _ = _stored(IntegerTables.of_probabilities([-1, 5], [[0.2, 0.5, 0.2], [0.9]]))
    values = np.array([[-1, 5], [10**6, -3], [-(10**6), 5]])
    strings = tables.encode(values, [0, 1])
    np.testing.assert_array_equal(tables.decode(strings, [0, 1], 2), values)


def test_no_integers_take_no_bytes():
    tables, _ = _stored(IntegerTables.of_integers([np.zeros(0, np.int32)]))
    assert tables.encode(np.zeros((2, 0), np.int32), 0) == [b"", b""]
    assert tables.decode([b"", b""], 0, 0).shape == (2, 0)
    assert tables.decode([], 0, 7).shape == (0, 7)


@pytest.mark.parametrize("value", [-4, 1, 9])
def test_an_integer_without_a_code_is_refused(value):
    tables = IntegerTables.of_integers([np.array([0, 0, 2, 8])])
    with pytest.raises(ValueError, match=f"no code for the integer {value}"):
        tables.encode(np.array([[0, value]]), 0)


def test_strings_that_are_too_short_are_refused():
    values = _normal(30.0, (1, 5000))
    tables = IntegerTables.of_integers([values])
    (string,) = tables.encode(values, 0)
    with pytest.raises(DamagedFileError, match="shorter"):
        tables.decode([string[:100]], 0, 5000)


def test_forged_strings_and_tables_end_in_an_error_or_in_integers():
    rng = np.random.default_rng(1)
    tables = IntegerTables.of_probabilities([0], [[0.9]])
    tables.decode([b"\xff" * 40, bytes(40)], 0, 20)
    data = _stored(IntegerTables.of_integers([_normal(5.0, 3000), _normal(0.1, 3000)]))[1]
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= rng.integers(1, 256)
        try:
            IntegerTables.read(FieldReader(bytes(damaged[: rng.integers(1, len(data) + 1)])))
        except DamagedFileError as error:
            assert str(error).startswith("damaged: ")


def test_fields_return_what_was_written():
    writer = FieldWriter()
    for value in (0, 127, 128, 2**40):
        writer.unsigned(value)
        writer.signed(value)
        writer.signed(-value)
    writer.text("größe")
    writer.sized(b"\0\1")
    reader = FieldReader(writer.finish())
    for value in (0, 127, 128, 2**40):
        assert [reader.unsigned(), reader.signed(), reader.signed()] == [value, value, -value]
    assert (reader.text(), reader.sized(), reader.remaining) == ("größe", b"\0\1", 0)
    with pytest.raises(DamagedFileError, match="cut short"):
        reader.unsigned()


@pytest.mark.parametrize("escape", [False, True])
def test_bits_are_those_of_the_string(escape):
    values = _normal(3.0, (1, 20000))
    tables = IntegerTables.of_integers([values])
    if escape:
        tables = IntegerTables.of_probabilities([-4], [np.full(8, 0.1)])
    (string,) = tables.encode(values, 0)
    assert 8 * len(string) == pytest.approx(tables.bits(values, np.array(0)).sum(), rel=0.005)
    outside = tables.bits(np.array([200]), np.array(0))
    assert np.isfinite(outside) == escape


def test_tables_may_depend_on_integers_decoded_before():
    tables = IntegerTables.of_probabilities([0, -9, -9], [[0.5, 0.4], np.full(19, 0.05), [0.9]])
    rng = np.random.default_rng(0)
    first = rng.integers(2, size=(4, 10))
    values = np.where(np.repeat(first, 3, -1), -9, rng.integers(-9, 10, (4, 30)))

    def tables_of(classes):
        return 1 + np.repeat(classes, 3, axis=-1)

    both = np.concatenate([first, values], -1)
    strings = tables.encode(both, np.concatenate([0 * first, tables_of(first)], -1))
    decoded = tables.decode_conditional(strings, np.array(0), 10, tables_of, 30)
    np.testing.assert_array_equal(np.concatenate(decoded, -1), both)
