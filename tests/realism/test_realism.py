"""Realism decoders: the library, the codec, the command line and servers."""

from __future__ import annotations

import io
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import GOLDEN, cropped, golden_model, random_realism, without_graphs
from tfc_models import remote, zoo
from tfc_models.cli.main import main
from tfc_models.codec import Codec
from tfc_models.layers import tiled
from tfc_models.models import STRIDE
from tfc_models.realism import RealismDecoder, decoder_file, latent_noise, openings
from tfc_models.serving import rest_json
from tfc_models.serving.errors import ServingError
from tfc_models.serving.servable import Servable

NAME = "gained-checkerboard"
GOLDEN_NOISE = (0.9089142, -0.1215346)


@pytest.fixture(scope="module")
def base():
    model = golden_model(NAME)
    model.set_bfloat16("off")
    return model


@pytest.fixture(scope="module")
def file(base, tmp_path_factory) -> pathlib.Path:
    """Weights file of a realism decoder."""
    path = tmp_path_factory.mktemp("realism") / "decoder.npz"
    decoder_file.save(random_realism(base), base.digest().hex(), path)
    return path


@pytest.fixture(scope="module")
def codec(base, file) -> Codec:
    return Codec(base, realism=file)


def test_keras_saves_every_weight_of_a_decoder(base, tmp_path):
    decoder = random_realism(base)
    decoder.save_weights(tmp_path / "decoder.weights.h5")
    fresh = RealismDecoder(base)
    fresh.load_weights(tmp_path / "decoder.weights.h5")
    for name, value in decoder.state().items():
        np.testing.assert_array_equal(fresh.state()[name], value, err_msg=name)


@pytest.mark.parametrize("name", ["bls2017", "mbt2018-mean", "gained-universal", "hific"])
def test_realism_0_is_the_synthesis_of_every_model(name):
    base = golden_model(name)
    base.set_bfloat16("off")
    fresh, decoder = RealismDecoder(base), random_realism(base)
    latents = tf.random.stateless_normal([1, 3, 4, base.latent_channels], [1, 2]) * 3.0
    rate = 30.0 if base.many_rates else None
    faithful = base.to_images(latents, rate).numpy()
    np.testing.assert_array_equal(fresh.to_images(latents, rate, 1.0), faithful)
    np.testing.assert_array_equal(decoder.to_images(latents, rate, 0.0), faithful)
    # Each example has its own realism.
    both = decoder.to_images(tf.concat([latents, latents], 0), rate, tf.constant([0.0, 1.0]))
    np.testing.assert_allclose(both[0], faithful[0], atol=1e-3)
    assert np.abs(both[1] - faithful[0]).max() > 1.0
    assert not {v.ref() for v in base.variables} & {v.ref() for v in decoder.variables}


def test_gates_are_linear_between_knots_and_rate_levels():
    amount = tf.constant([0.0, 0.125, 0.25, 0.5, 1.0])
    opening = openings(amount, tf.fill([5], 50.0), knots=4, levels=3).numpy().reshape(5, 4, 3)
    assert not opening[:, :, [0, 2]].any()  # 50 is exactly the middle level.
    expected = [[0, 0, 0, 0], [0.5, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(opening[:, :, 1], expected, atol=1e-6)
    between = openings(tf.constant([1.0]), tf.constant([25.0]), knots=4, levels=3)
    np.testing.assert_allclose(tf.reshape(between, [4, 3])[3], [0.5, 0.5, 0.0])


def test_images_change_continuously_with_realism(base):
    decoder = random_realism(base)
    latents = tf.random.stateless_normal([1, 4, 4, base.latent_channels], [1, 2]) * 3.0
    images = [decoder.to_images(latents, 40.0, a).numpy() for a in np.linspace(0, 1, 41)]
    steps = [np.abs(b - a).mean() for a, b in zip(images, images[1:])]
    whole = np.abs(images[-1] - images[0]).mean()
    assert min(steps) > 0.0 and max(steps) < 0.2 * whole


def test_tiles_decode_to_the_whole_image(base):
    decoder = random_realism(base, blocks=(2, 3))
    assert decoder.halo > base.halo
    side = 2 * decoder.halo + 5
    latents = tf.random.stateless_normal([1, side, side, base.latent_channels], [3, 4]) * 3.0

    def pixels(maps: tf.Tensor) -> tf.Tensor:
        return decoder.to_images(maps, 60.0, 1.0)

    out = tf.TensorSpec([None, None, 3], tf.float32)
    parts = tiled(pixels, latents, 1, STRIDE, out, tile=4, halo=decoder.halo)
    np.testing.assert_allclose(parts, pixels(latents), atol=2e-2)


@pytest.mark.usefixtures("eager")
def test_realism_changes_neither_the_file_nor_the_image_at_0(base, codec):
    image = cropped(90, 133)
    plain = Codec(base)
    data = codec.compress(image, 30)
    assert data == plain.compress(image, 30)
    np.testing.assert_array_equal(codec.latents(data), plain.latents(data))
    faithful = plain.decompress(data)
    np.testing.assert_array_equal(codec.decompress(data), faithful)
    np.testing.assert_array_equal(codec.decompress(data, realism=0), faithful)
    sharp = codec.decompress(data, realism=1)
    assert sharp.shape == faithful.shape and np.abs(sharp.astype(int) - faithful).max() > 2
    assert codec.compress(image, 30) == data


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("realism", [-0.1, 1.01, float("nan"), "1", True, None])
def test_realism_out_of_range_is_refused(codec, realism):
    data = codec.compress(cropped(32, 32))
    with pytest.raises(ValueError, match="realism is a number from 0 to 1; got"):
        codec.decompress(data, realism=realism)


@pytest.mark.usefixtures("eager")
def test_a_model_without_a_realism_decoder_refuses_realism(base):
    plain = Codec(base)
    data = plain.compress(cropped(32, 32))
    with pytest.raises(ValueError, match=r"has no realism decoder: give the file of one, or"):
        plain.decompress(data, realism=0.5)


def test_files_hold_kernels_to_a_sixteenth_of_their_rms(base, file):
    decoder = random_realism(base)
    weights = decoder_file.read(file)
    assert weights.model == NAME and weights.digest == base.digest().hex()
    for name, value in decoder.state().items():
        stored, value = weights.state[name], np.asarray(value)
        if name.endswith("/kernel"):
            rms = np.sqrt(np.mean(np.square(value), axis=(0, 1, 2)))
            assert np.all(np.abs(stored - value) <= rms * (1 / 16 + 1e-3) + 1e-6)
        else:
            np.testing.assert_allclose(stored, value, rtol=1e-3, atol=1e-4)


def test_another_model_s_decoder_and_damaged_files_are_refused(base, file, tmp_path):
    weights = decoder_file.read(file)
    words = rf"decoder\.npz is a realism decoder for {NAME} .* not for gained-raster .*: give one"
    with pytest.raises(ValueError, match=words):
        decoder_file.build(weights, golden_model("gained-raster"))
    with pytest.raises(ValueError, match=r"weights 00000000.*not for gained-checkerboard"):
        decoder_file.build(weights._replace(digest="00000000"), base)
    with pytest.raises(ValueError, match="is not a realism decoder's file, or is damaged"):
        decoder_file.read(GOLDEN / f"{NAME}.npz")
    cut = tmp_path / "cut.npz"
    cut.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(ValueError, match="or is damaged"):
        decoder_file.read(cut)
    with pytest.raises(FileNotFoundError):
        decoder_file.read(tmp_path / "missing.npz")
    with pytest.raises(ValueError, match="the weights do not fit"):
        decoder_file.build(weights._replace(state={**weights.state, "more": np.zeros(3)}), base)


@pytest.mark.usefixtures("eager")
def test_faulty_decoders_are_not_loaded_at_realism_0(base, tmp_path, monkeypatch):
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"nothing")
    entry = zoo.Entry("e", 1, False, NAME, "", "", "", "", "damaged.npz", "0" * 64)
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    for realism, words in ((damaged, "or is damaged"), (entry, "has SHA-256")):
        codec = Codec(base, realism=realism)
        data = codec.compress(cropped(32, 48))
        assert codec.decompress(data).shape == (32, 48, 3)
        with pytest.raises(ValueError, match=words):
            codec.decompress(data, realism=1.0)
        with pytest.raises(ValueError, match=words):
            codec.save(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match="is for another model"):
        Codec(base, realism=random_realism(golden_model(NAME)))
    # A missing file is reported at once.
    with pytest.raises(FileNotFoundError, match=r"no file of a realism decoder \S*/missing\.npz"):
        Codec(base, realism=tmp_path / "missing.npz")


def test_noise_depends_only_on_the_latents():
    latents = np.arange(-300, 300, dtype=np.float32).reshape(1, 10, 12, 5) / 64.0
    noise = latent_noise(latents, 4, 3).numpy()
    assert noise.shape == (1, 40, 48, 3) and abs(noise.std() - 1.0) < 0.02
    assert np.abs(noise).max() <= np.sqrt(3.0) and abs(noise.mean()) < 0.05
    for lag in (1, 2, 4):
        assert abs(np.corrcoef(noise[:, lag:].ravel(), noise[:, :-lag].ravel())[0, 1]) < 0.05
    # Independent of the position, and equal in all later versions.
    part = latent_noise(latents[:, 3:5, 2:9], 4, 3)
    np.testing.assert_array_equal(part, noise[:, 12:20, 8:36])
    np.testing.assert_allclose(noise[0, 0, :2, 0], GOLDEN_NOISE, atol=1e-6)


def renamed(file: pathlib.Path, path: pathlib.Path, **changes: str) -> str:
    """Returns a copy of a decoder's file for another model or other weights."""
    arrays = remote.read_weights(file)
    meta = json.loads(str(arrays["__meta__"]))
    remote.write_weights(path, {**arrays, "__meta__": np.array(json.dumps({**meta, **changes}))})
    return str(path)


@pytest.mark.usefixtures("eager")
def test_the_command_line(file, codec, tmp_path, capsys):
    model = str(GOLDEN / f"{NAME}.npz")
    image = cropped(48, 70)
    data = codec.compress(image, 20)
    other = renamed(file, tmp_path / "other.npz", realism="gained-raster")
    older = renamed(file, tmp_path / "older.npz", digest="01234567")
    known = f"not for {NAME} (weights {codec.digest}): give one for that, or none"
    of_other = f"a realism decoder for gained-raster (weights {codec.digest}), {known}"
    of_older = f"a realism decoder for {NAME} (weights 01234567), {known}"
    coded, out = tmp_path / "a.tfcm", tmp_path / "a.png"
    coded.write_bytes(data)
    command = ["decompress", str(coded), "-o", str(out), "-m", model, "--force", "--json"]
    assert main([*command, "--realism", "0.75", "--realism-weights", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)[0]["realism"] == 0.75
    with Image.open(out) as image:
        decoded = np.asarray(image).astype(int)
    # Like the command, this codec multiplies in bfloat16 where that is faster.
    same = Codec(golden_model(NAME), realism=file)
    assert np.abs(decoded - same.decompress(data, realism=0.75)).max() <= 1
    for options, words in (
        (["--realism", "1.5"], "'1.5' is not a number from 0 to 1"),
        (["--realism", "nan"], "'nan' is not a number from 0 to 1"),
        (["--realism", "x"], "'x' is not a number from 0 to 1"),
        (["--realism", "1", "--realism-weights", "nowhere.npz"], "there is no file of a realism"),
        (["--realism-weights", str(file)], "needs --realism above 0"),
    ):
        assert main([*command, *options]) == 2
        assert words in capsys.readouterr().err
    for options, words in (
        (["--realism", "1"], "has no realism decoder"),
        (["--realism", "1", "--realism-weights", model], "is not a realism decoder's file"),
        (["--realism", "1", "--realism-weights", other], f"other.npz is {of_other}"),
        (["--realism", "1", "--realism-weights", older], f"older.npz is {of_older}"),
    ):
        before = out.read_bytes()
        assert main([*command, *options]) == 1
        said = capsys.readouterr().err
        assert words in said and len(said.strip().splitlines()) == 1
        assert out.read_bytes() == before


@pytest.fixture(scope="module")
def servable(base, file, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    Codec(base, realism=file).save(str(path))  # A codec that has not loaded its decoder yet.
    loaded = Servable("m", 1, path)
    yield loaded
    loaded.close()


def _images(outputs) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(png))).astype(int) for png in outputs]


def test_the_savedmodel_has_an_optional_realism_input(servable, codec):
    signature = servable.signature_def("decompress_at_realism")
    assert set(signature.inputs) == {"bitstream_bytes", "realism"}
    assert tf.make_ndarray(signature.defaults["realism"]) == 0.0
    # Requests without realism give the same result as before.
    assert set(servable.signature_def("decompress").inputs) == {"bitstream_bytes"}
    with without_graphs():
        data = codec.compress(cropped(40, 56), 25)
        expected = {amount: codec.decompress(data, realism=amount) for amount in (0.0, 0.5, 1.0)}
    two = {"bitstream_bytes": np.array([data, data], object)}
    faithful = _images(servable.call("decompress", two)["image_bytes"])
    for given, amounts in (
        ({}, [0.0, 0.0]),
        ({"realism": np.float32(1.0)}, [1.0, 1.0]),
        ({"realism": np.float32([0.5])}, [0.5, 0.5]),
        ({"realism": np.array([0.0, 0.5], np.float32)}, [0.0, 0.5]),
    ):
        inputs = servable.checked_inputs("decompress_at_realism", {**two, **given})
        decoded = _images(servable.call("decompress_at_realism", inputs)["image_bytes"])
        for image, amount in zip(decoded, amounts):
            assert np.abs(image - expected[amount]).max() <= 1
            if not amount:
                np.testing.assert_array_equal(image, faithful[0])
    with pytest.raises(ServingError, match=r"realism is a number from 0 to 1; got 1\.5"):
        servable.call("decompress_at_realism", {**two, "realism": np.float32([1.5, 0.0])})
    with pytest.raises(ServingError, match="one value per example, or one for all"):
        servable.checked_inputs("decompress_at_realism", {**two, "realism": np.zeros([2, 1], "f4")})


def test_realism_is_optional_in_requests(servable):
    assert servable.supports_batching("decompress_at_realism")

    def parsed(**document):
        body = json.dumps({"signature_name": "decompress_at_realism", **document}).encode()
        return rest_json.parse(body, servable)[2]

    file = {"b64": "AAAA"}
    rows = parsed(instances=[{"bitstream_bytes": file, "realism": r} for r in (0.25, 1)])
    np.testing.assert_array_equal(rows["realism"], np.float32([0.25, 1.0]))
    for inputs in (
        parsed(instances=[{"bitstream_bytes": file}] * 2),
        parsed(instances=[file, file]),
        parsed(inputs={"bitstream_bytes": [file, file]}),
        parsed(inputs=[file, file]),
    ):
        assert set(inputs) == {"bitstream_bytes"}
        filled = servable.checked_inputs("decompress_at_realism", inputs)["realism"]
        np.testing.assert_array_equal(filled, np.float32([0.0, 0.0]))
    single = parsed(inputs={"bitstream_bytes": [file, file], "realism": 0.5})
    filled = servable.checked_inputs("decompress_at_realism", single)["realism"]
    np.testing.assert_array_equal(filled, np.float32([0.5, 0.5]))
    with pytest.raises(ServingError, match="must only have keys"):
        parsed(instances=[{"bitstream_bytes": file, "realism": 1.0}, {"bitstream_bytes": file}])
    with pytest.raises(ServingError, match="Missing named input: bitstream_bytes"):
        parsed(inputs={"realism": 0.5})
