"""File format: contents of headers, and agreement of both readers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import GOLDEN, cropped, golden_codec
from tfc_models.codec import BitstreamError, Codec, container, graph, inspect
from tfc_models.codec.farmhash import fingerprint64


@pytest.mark.parametrize("size", [*range(0, 200), 1000, 4096, 65537])
def test_the_fingerprint_equals_tensorflows(size):
    data = np.random.default_rng(size).bytes(size)
    op = tf.raw_ops.Fingerprint(data=np.frombuffer(data, np.uint8)[None], method="farmhash64")
    assert op.numpy().tobytes() == fingerprint64(data).to_bytes(8, "little")


@given(st.text(alphabet=container.LETTERS[1:], min_size=1, max_size=container.NAME_LENGTH))
def test_names_survive_a_round_trip(name):
    packed = container.pack_name(name)
    assert container.unpack_name(packed + b"\xff\xff\xff") == (name, len(packed))
    assert len(packed) <= 14


@pytest.mark.parametrize("name", ["", "x" * 21, "Photo", "a b", "é"])
def test_a_name_that_is_too_long_or_invalid_is_refused(name):
    with pytest.raises(ValueError, match="a codec's name"):
        container.pack_name(name)


@settings(deadline=None)
@given(st.integers(0, 2**35 - 1))
def test_varints_are_the_same_in_python_and_in_a_graph(value):
    assert graph.varint(tf.constant(value, tf.int64)).numpy() == container.varint(value)


def test_inspect_reads_what_compress_wrote(codec):
    image = cropped(50, 75)
    data = codec.compress(image)
    header = inspect(data)
    assert (header.version, header.model, header.digest) == (1, codec.model_name, codec.digest)
    rate = 50 if codec.many_rates else 0
    assert (header.height, header.width, header.rate) == (50, 75, rate)
    assert len(header.stream_bytes) == len(codec.model.coder.streams)
    assert header.bytes_total == len(data)
    assert header.bits_per_pixel == pytest.approx(8 * len(data) / 3750)


def test_inspect_needs_no_tensorflow():
    data = golden_codec("bls2017").compress(cropped(20, 20))
    code = (
        "import sys, tfc_models; tfc_models.inspect(sys.stdin.buffer.read());"
        "tfc_models.list_models(); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], input=data, check=True)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty|not a tfc-models file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "not a tfc-models file"),
        (b"\xf1TC\x03" + bytes(40), "version"),
        (b"\xf1TC\x02" + bytes(40), "damaged: the file was cut short or changed"),
        (b"\xf1TC\0" + bytes(40), "damaged: there is no format version 0"),
        (b"\xf1TC\x01", "damaged"),
        (b"\xf1TC", "damaged|version"),
    ],
)
def test_both_readers_give_the_same_error(data, says):
    with pytest.raises(BitstreamError, match=says):
        inspect(data)
    with pytest.raises(BitstreamError, match=says):
        golden_codec("bls2017").decompress(data)


def test_a_file_of_another_model_or_of_other_weights_names_both():
    first, second = golden_codec("mbt2018-mean"), golden_codec("bls2017")
    data = first.compress(cropped(30, 30))
    with pytest.raises(BitstreamError) as caught:
        second.decompress(data)
    for part in (first.model_name, first.digest, second.model_name, second.digest):
        assert part in str(caught.value)


def test_limits_hold_and_are_raised_by_an_argument():
    codec = golden_codec("bls2017")
    data = codec.compress(cropped(40, 60))
    for limit in ({"max_pixels": 2399}, {"max_side": 59}):
        with pytest.raises(BitstreamError, match="over the limit: the image is 60x40"):
            codec.decompress(data, **limit)
    assert codec.decompress(data, max_pixels=2400, max_side=60).shape == (40, 60, 3)


@pytest.mark.parametrize(
    "image",
    [np.zeros([4, 4]), np.zeros([4, 4, 4], np.uint8), np.zeros([0, 4, 3], np.uint8)],
)
def test_arrays_that_are_not_images_are_refused(image):
    with pytest.raises(ValueError, match="an image"):
        golden_codec("bls2017").compress(image)


@pytest.mark.parametrize("data", ["file.tfcm", 5, None, [1, 2]])
def test_data_that_is_not_bytes_is_refused(data):
    for read in (inspect, golden_codec("bls2017").decompress):
        with pytest.raises(TypeError, match="the bytes of a file"):
            read(data)


def test_a_codec_requires_a_model():
    with pytest.raises(TypeError, match="load"):
        Codec("default")


@pytest.mark.parametrize("limit", [{"max_pixels": 0}, {"max_side": None}, {"max_pixels": 1e8}])
def test_limits_that_are_not_whole_numbers_are_refused(limit):
    with pytest.raises(ValueError, match="whole number"):
        golden_codec("bls2017").decompress(b"", **limit)


@pytest.fixture(scope="module")
def grey_file() -> bytes:
    return golden_codec("mbt2018-mean").compress(cropped(50, 75)[..., 1])


def test_a_grey_image_decodes_to_one_channel(grey_file):
    codec, grey = golden_codec("mbt2018-mean"), cropped(50, 75)[..., 1]
    header = inspect(grey_file)
    assert (header.version, header.flags, header.is_grey) == (2, container.GREY, True)
    decoded = codec.decompress(grey_file)
    assert decoded.shape == grey.shape and decoded.dtype == np.uint8
    # The streams are those of three equal channels. The file is a byte longer.
    colour = codec.compress(np.repeat(grey[..., None], 3, axis=2))
    assert inspect(colour).version == 1 and not inspect(colour).is_grey
    assert len(grey_file) == len(colour) + 1
    assert header.stream_bytes == inspect(colour).stream_bytes
    mean = codec.decompress(colour).astype(float).mean(axis=2)
    assert np.abs(decoded - mean).max() <= 0.5
    assert container.claimed_size(grey_file) == container.claimed_size(colour) == (75, 50)


def test_the_golden_grey_file_decodes_to_its_stored_image():
    data = (GOLDEN / "grey" / "mbt2018-mean.tfcm").read_bytes()
    with Image.open(GOLDEN / "grey" / "mbt2018-mean.png") as image:
        assert image.mode == "L"
        expected = np.asarray(image).astype(int)
    assert np.abs(golden_codec("mbt2018-mean").decompress(data) - expected).max() <= 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [(b"\0", "damaged: the flags that"), (b"\3", "written by a newer release")],
)
def test_flags_of_other_releases_and_forged_ones_are_refused(grey_file, flags, says):
    at = len(container.pack_name("mbt2018-mean")) + 4 + container.DIGEST_BYTES + 3
    assert grey_file[at : at + 1] == bytes([container.GREY])
    body = grey_file[:at] + flags + grey_file[at + 1 : -4]
    data = body + container.fingerprint(body)
    for read in (inspect, golden_codec("mbt2018-mean").decompress):
        with pytest.raises(BitstreamError, match=says):
            read(data)


def test_a_removed_flag_is_detected(grey_file):
    at = len(container.pack_name("mbt2018-mean")) + 4 + container.DIGEST_BYTES + 3
    body = grey_file[:3] + b"\1" + grey_file[4:at] + grey_file[at + 1 : -4]
    with pytest.raises(BitstreamError, match="the decoded latent has another fingerprint"):
        golden_codec("mbt2018-mean").decompress(body + container.fingerprint(body))
