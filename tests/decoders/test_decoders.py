"""Replacement decoders: channels, files, the codec, the command line and SavedModels."""

from __future__ import annotations

import io
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmarks.complexity import counted
from tests.conftest import GOLDEN, codec_with_decoders, cropped, golden_model, half_decoder
from tfc_models import remote, zoo
from tfc_models.cli.main import main
from tfc_models.codec import Codec
from tfc_models.decoders import (
    ReplacementDecoder,
    decoder_file,
    multiplications,
    narrowed_state,
    widths_of,
)
from tfc_models.layers import part_of
from tfc_models.serving.servable import Servable

NAME = "gained-checkerboard"


@pytest.fixture(scope="module")
def codec() -> Codec:
    return codec_with_decoders(NAME)


@pytest.fixture(scope="module")
def base(codec):
    return codec.model


@pytest.fixture(scope="module")
def file(base, tmp_path_factory) -> pathlib.Path:
    """Weights file of a decoder with half of the channels."""
    path = tmp_path_factory.mktemp("decoders") / "fast.npz"
    decoder_file.save(half_decoder(base), base.digest().hex(), path)
    return path


def latents_for(base) -> tuple[tf.Tensor, float | None]:
    latents = tf.random.stateless_normal([1, 3, 4, base.latent_channels], [1, 2]) * 3.0
    return latents, 30.0 if base.many_rates else None


@pytest.mark.parametrize("name", ["bls2017", "mbt2018-mean", "gained-universal"])
def test_a_decoder_with_all_channels_is_the_synthesis(name):
    base = golden_model(name)
    base.set_bfloat16("off")
    latents, rate = latents_for(base)
    decoder = ReplacementDecoder(base)
    expected = base.to_images(latents, rate)
    np.testing.assert_array_equal(decoder.to_images(latents, rate), expected)
    decoder.freeze()
    np.testing.assert_array_equal(decoder.to_images(latents, rate), expected)
    assert not {v.ref() for v in base.variables} & {v.ref() for v in decoder.variables}


@pytest.mark.parametrize("name", ["bls2017", "mbt2018-mean", "gained-stem4"])
def test_channels_of_zeros_can_be_removed(name):
    base = golden_model(name)
    base.set_bfloat16("off")
    decoder = ReplacementDecoder(base)
    rng = np.random.default_rng(0)
    widths = widths_of(base.synthesis)
    kept = {n: np.sort(rng.choice(w, max(1, w // 2), False)) for n, w in widths.items()}
    removed = {n: np.setdiff1d(np.arange(w), kept[n]) for n, w in widths.items()}
    state = {k: np.array(v) for k, v in decoder.state().items()}
    for group, channels in removed.items():
        if f"{group}/expand/kernel" in state:
            state[f"{group}/expand/kernel"][..., channels] = 0.0
            state[f"{group}/expand/bias"][channels] = 0.0
        else:
            state[f"{group}/kernel"][..., channels] = 0.0
            state[f"{group}/bias"][channels] = 0.0
    trunk = None
    for layer in decoder.synthesis.layers:
        if layer.name in removed and f"{layer.name}/kernel" in state:
            trunk = removed[layer.name]
        elif f"{layer.name}/reduce/kernel" in state and trunk is not None:
            state[f"{layer.name}/reduce/kernel"][..., trunk] = 0.0
            state[f"{layer.name}/reduce/bias"][trunk] = 0.0
    decoder.assign_state(state)
    narrow = ReplacementDecoder(base, {n: len(v) for n, v in kept.items()})
    narrow.assign_state(narrowed_state(base.synthesis, state, kept))
    latents, rate = latents_for(base)
    expected = decoder.to_images(latents, rate)
    np.testing.assert_allclose(narrow.to_images(latents, rate), expected, atol=2e-3)


def test_blocks_without_hidden_channels_are_left_out(base):
    decoder = ReplacementDecoder(base, {"block00": 0})
    names = [layer.name for layer in decoder.synthesis.layers]
    assert "block00" not in names and "block10" in names
    assert decoder.widths == {**widths_of(base.synthesis), "block00": 0}


@pytest.mark.parametrize("name", ["bls2017", "gained-stem4"])
def test_multiplications_are_those_of_the_convolutions(name):
    base = golden_model(name)
    base.set_bfloat16("off")
    decoder = half_decoder(base)
    with counted() as count:
        decoder.to_images(tf.zeros([1, 32, 48, base.latent_channels]), latents_for(base)[1])
    each = multiplications(base.synthesis, decoder.widths, base.latent_channels)
    # Some upsampling convolutions compute one more row and column, which are cropped.
    expected = sum(each.values()) * 32 * 48
    assert expected <= count.total < 1.05 * expected


def test_wrong_widths_are_refused(base):
    with pytest.raises(ValueError, match="the width of conv1 is at most"):
        ReplacementDecoder(base, {"conv1": 1000})
    with pytest.raises(ValueError, match="the width of conv1 is at most"):
        ReplacementDecoder(base, {"conv1": 0})
    with pytest.raises(ValueError, match=r"widths are those of .*; got .*conv9"):
        ReplacementDecoder(base, {"conv9": 4})
    with pytest.raises(ValueError, match="cannot be removed: choose a model whose synthesis"):
        ReplacementDecoder(golden_model("hific"))


def test_files_hold_weights_at_the_precision_of_bfloat16(base, file):
    weights = decoder_file.read(file)
    decoder = half_decoder(base)
    assert weights.model == NAME and weights.digest == base.digest().hex()
    assert weights.config == decoder.config
    for name, value in decoder.state().items():
        np.testing.assert_allclose(weights.state[name], value, rtol=2**-8, atol=1e-4)
    decoder_file.build(weights, base)


def test_keras_saves_every_weight_of_a_decoder(base, tmp_path):
    decoder = half_decoder(base)
    decoder.save_weights(tmp_path / "decoder.weights.h5")
    fresh = ReplacementDecoder(base, decoder.widths)
    fresh.load_weights(tmp_path / "decoder.weights.h5")
    for name, value in decoder.state().items():
        np.testing.assert_array_equal(fresh.state()[name], value, err_msg=name)


def test_another_model_s_decoder_and_damaged_files_are_refused(base, file, tmp_path):
    weights = decoder_file.read(file)
    words = rf"fast\.npz is a decoder for {NAME} .* not for gained-raster .*: give one"
    with pytest.raises(ValueError, match=words):
        decoder_file.build(weights, golden_model("gained-raster"))
    with pytest.raises(ValueError, match=rf"weights 00000000.*not for {NAME}"):
        decoder_file.build(weights._replace(digest="00000000"), base)
    with pytest.raises(ValueError, match="is not a decoder's file, or is damaged"):
        decoder_file.read(GOLDEN / f"{NAME}.npz")
    cut = tmp_path / "cut.npz"
    cut.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(ValueError, match="or is damaged"):
        decoder_file.read(cut)
    later = tmp_path / "later.npz"
    arrays = remote.read_weights(file)
    meta = json.loads(str(arrays["__meta__"]))
    text = json.dumps({**meta, "format": 99})
    remote.write_weights(later, {**arrays, "__meta__": np.array(text)})
    with pytest.raises(ValueError, match="is of a later release of tfc-models: update it"):
        decoder_file.read(later)
    with pytest.raises(ValueError, match="the weights do not fit"):
        decoder_file.build(weights._replace(state={**weights.state, "more": np.zeros(3)}), base)


@pytest.mark.usefixtures("eager")
def test_the_fast_decoder_changes_neither_the_file_nor_the_full_image(base, codec):
    image = cropped(90, 133)
    plain = Codec(base)
    data = codec.compress(image, 30)
    assert data == plain.compress(image, 30)
    full, fast = codec.decompress(data), codec.decompress(data, decoder="fast")
    np.testing.assert_array_equal(full, plain.decompress(data))
    assert fast.shape == full.shape and np.abs(fast.astype(int) - full).max() > 2
    grey = codec.compress(image[..., 0], 30)
    assert codec.decompress(grey, decoder="fast").shape == image.shape[:2]


@pytest.mark.usefixtures("eager")
def test_wrong_choices_are_refused(base, codec):
    data = codec.compress(cropped(32, 32))
    with pytest.raises(ValueError, match="the decoder is full or fast; got 'half'"):
        codec.decompress(data, decoder="half")
    with pytest.raises(ValueError, match="realism needs the decoder full"):
        codec.decompress(data, realism=0.5, decoder="fast")
    with pytest.raises(ValueError, match=r"has no fast decoder: give the file of one, or"):
        Codec(base).decompress(data, decoder="fast")


@pytest.mark.usefixtures("eager")
def test_faulty_decoders_are_not_read_for_the_full_decoder(base, tmp_path, monkeypatch):
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"nothing")
    entry = zoo.Entry("e", 1, False, NAME, "", "", "", "", fast="damaged.npz", fast_sha256="0" * 64)
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    for fast, words in ((damaged, "or is damaged"), (entry, "has SHA-256")):
        codec = Codec(base, fast=fast)
        data = codec.compress(cropped(32, 48))
        assert codec.decompress(data).shape == (32, 48, 3)
        with pytest.raises(ValueError, match=words):
            codec.decompress(data, decoder="fast")
        with pytest.raises(ValueError, match=words):
            codec.save(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match="is for another model"):
        Codec(base, fast=half_decoder(golden_model(NAME)))
    with pytest.raises(FileNotFoundError, match=r"no file of a fast decoder \S*/missing\.npz"):
        Codec(base, fast=tmp_path / "missing.npz")


def test_the_command_line(file, codec, tmp_path, capsys):
    model = str(GOLDEN / f"{NAME}.npz")
    coded, out = tmp_path / "a.tfcm", tmp_path / "a.png"
    coded.write_bytes(codec.compress(cropped(48, 70), 20))
    command = ["decompress", str(coded), "-o", str(out), "-m", model, "--force", "--json"]
    assert main([*command, "--decoder", "fast", "--fast-weights", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)[0]["decoder"] == "fast"
    expected = codec.decompress(coded.read_bytes(), decoder="fast")
    with Image.open(out) as image:
        assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1
    for options, status, words in (
        (["--decoder", "half"], 2, "invalid choice: 'half'"),
        (["--decoder", "fast", "--fast-weights", "nowhere.npz"], 2, "no file of a fast decoder"),
        (["--fast-weights", str(file)], 2, "--fast-weights needs --decoder fast"),
        (["--decoder", "fast", "--realism", "1"], 2, "--realism needs --decoder full"),
        (["--decoder", "fast"], 1, "has no fast decoder"),
        (["--decoder", "fast", "--fast-weights", model], 1, "is not a decoder's file"),
    ):
        before = out.read_bytes()
        assert main([*command, *options]) == status
        said = capsys.readouterr().err
        assert words in said and out.read_bytes() == before


def test_the_savedmodel_has_a_fast_signature(base, codec, file, tmp_path):
    Codec(base, fast=file).save(str(tmp_path))  # A codec that has not read its decoder yet.
    servable = Servable("m", 1, tmp_path)
    try:
        assert servable.signature_def("decompress_at_realism") is None
        data = codec.compress(cropped(40, 56), 25)
        two = {"bitstream_bytes": np.array([data, data], object)}
        for png in servable.call("decompress_fast", two)["image_bytes"]:
            decoded = np.asarray(Image.open(io.BytesIO(png))).astype(int)
            assert np.abs(decoded - codec.decompress(data, decoder="fast")).max() <= 1
    finally:
        servable.close()


def test_narrowed_weights_are_parts_of_the_whole(base):
    decoder = half_decoder(base)
    full = part_of(base.plain_state, "synthesis/")
    kernel = decoder.state()["conv1/kernel"]
    inputs, outputs = kernel.shape[2:]
    np.testing.assert_array_equal(kernel, full["conv1/kernel"][:, :, :inputs, :outputs])
