"""Loading weights by name, path and address."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import types
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

import tfc_models
from tests.conftest import GOLDEN, ROOT, cropped, without_graphs
from tfc_models import images, metrics, models, samples, zoo
from tfc_models.codec import codec_for
from tfc_models.decoders import decoder_file as replacement_file
from tfc_models.decoders import multiplications, widths_of
from tfc_models.models.stored import storable
from tfc_models.realism import decoder_file
from tfc_models.zoo import files

SOURCE = GOLDEN / "bls2017.npz"
SHA256 = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
ADDRESS = f"https://example.org/weights.npz#sha256={SHA256}"


class Response(io.BytesIO):
    headers = types.MappingProxyType({})


@pytest.fixture
def web(monkeypatch, tmp_path):
    """Replaces downloads by one file; the list records the fetched addresses."""
    fetched = []

    def urlopen(url, timeout):
        fetched.append(url)
        if not url.endswith("weights.npz"):
            raise urllib.error.URLError("no such host")
        return Response(SOURCE.read_bytes())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setenv("TFC_MODELS_CACHE", str(tmp_path / "cache"))
    return fetched


def test_an_address_is_fetched_once_and_cached(web, tmp_path):
    codec = tfc_models.load(ADDRESS)
    assert codec.model_name == "bls2017"
    assert codec.digest == tfc_models.load(str(SOURCE)).digest
    assert (
        tfc_models.load(
            ADDRESS.upper().replace(
                "HTTPS://EXAMPLE.ORG/WEIGHTS.NPZ#SHA256=", "https://example.org/weights.npz#sha256="
            )
        ).digest
        == codec.digest
    )
    assert web == ["https://example.org/weights.npz"]
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [f"{SHA256}.npz"]
    # Damaged files in the cache are fetched again.
    (tmp_path / "cache" / f"{SHA256}.npz").write_bytes(b"damaged")
    assert tfc_models.load(ADDRESS).digest == codec.digest
    assert len(web) == 2


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (ADDRESS.replace(SHA256[:8], "0" * 8), "not used"),
        (ADDRESS.replace("https", "http"), "https addresses"),
        (ADDRESS.replace("#sha256=", "?"), "64 hexadecimal digits"),
        (ADDRESS.replace("weights", "others"), "no such host"),
    ],
)
def test_wrong_and_damaged_downloads_are_refused(web, tmp_path, address, says):
    with pytest.raises((ValueError, OSError), match=says):
        tfc_models.load(address)
    assert not list((tmp_path / "cache").glob("*"))


def test_every_version_of_a_name_decodes(monkeypatch, tmp_path):
    """A name loads its newest version; a file loads the version that wrote it."""
    entries = []
    for version, source in ((1, "bls2017"), (2, "bmshj2018-factorized")):
        path = tmp_path / f"photo.v{version}.npz"
        shutil.copy(GOLDEN / f"{source}.npz", path)
        digest = tfc_models.load(str(path)).digest
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        entries.append(
            {
                **{"name": "photo", "version": version, "default": version == 2},
                **{"model": source, "digest": digest, "file": path.name, "sha256": sha256},
                "summary": "",
            }
        )
    (tmp_path / "index.json").write_text(json.dumps(entries))
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    zoo.entries.cache_clear()
    try:
        assert zoo.list_models() == ["photo"]
        assert tfc_models.load("photo").digest == entries[1]["digest"]
        old = zoo.build_model(zoo.read(zoo.entries()[1]))
        image = cropped(40, 50)
        data = tfc_models.Codec(old, "photo").compress(image)
        assert codec_for(data).digest == entries[0]["digest"]
        assert codec_for(data).decompress(data).shape == image.shape
    finally:
        zoo.entries.cache_clear()


def test_realism_decoders_of_the_zoo_match_their_entries():
    having = [entry for entry in zoo.entries() if entry.realism]
    assert any(entry.default for entry in having)
    for entry in having:
        path = zoo.realism_of(entry)  # Checks its SHA-256.
        assert path.stat().st_size <= 6 << 20 and path.with_suffix(".md").is_file()
        weights = decoder_file.read(path)
        assert (weights.model, weights.digest) == (entry.model, entry.digest)


def test_fast_decoders_of_the_zoo_match_their_entries():
    having = [entry for entry in zoo.entries() if entry.fast]
    assert any(entry.default for entry in having)
    for entry in having:
        path = zoo.fast_of(entry)  # Checks its SHA-256.
        assert path.stat().st_size <= 6 << 20 and path.with_suffix(".md").is_file()
        weights = replacement_file.read(path)
        assert (weights.model, weights.digest) == (entry.model, entry.digest)


@pytest.mark.usefixtures("eager")
def test_the_fast_decoder_of_the_default_model_loses_little():
    """At quality 30, it loses at most 0.8 dB, with at most 40 % of the multiplications."""
    codec = tfc_models.load()
    image = images.read(samples.files()["coffee.png"]).pixels[:256, :320].copy()
    data = codec.compress(image, 30)
    errors = [
        np.mean(np.square(codec.decompress(data, decoder=decoder).astype(float) - image))
        for decoder in ("full", "fast")
    ]
    assert 0.0 < 10.0 * np.log10(errors[1] / errors[0]) < 0.8
    synthesis, latents = codec.model.synthesis, codec.model.latent_channels
    both = [
        sum(multiplications(synthesis, widths, latents).values())
        for widths in (codec.fast_decoder().widths, widths_of(synthesis))
    ]
    assert both[0] < 0.4 * both[1]


@pytest.fixture(scope="module")
def shipped() -> list[tuple[np.ndarray, float, np.ndarray, np.ndarray]]:
    """Crops of two photos with bits per pixel and the default model's images at realism 0 and 1.

    Eager, because building graphs takes most of the time.
    """
    codec, results = tfc_models.load(), []
    with without_graphs():
        for name, quality in (("chelsea.png", 30), ("coffee.png", 20)):
            image = images.read(samples.files()[name]).pixels[:256, :320].copy()
            data = codec.compress(image, quality)
            both = (codec.decompress(data, realism=realism) for realism in (0.0, 1.0))
            results.append((image, 8.0 * len(data) / (256 * 320), *both))
    return results


def test_realism_of_the_default_model_trades_psnr_for_perceptual_distance(shipped):
    """Realism 1 reduces PIM-bands, and LPIPS if available, by a fifth for at most 0.7 dB."""
    names = ["pim-bands", *(["lpips"] if os.environ.get(metrics.LPIPS_VARIABLE) else [])]

    def measured(metric: str, column: int) -> float:
        function = metrics.named(metric).function
        pairs = ([tf.constant(row[i][None], tf.float32) for i in (0, column)] for row in shipped)
        return float(np.mean([function(*pair) for pair in pairs]))

    assert all(0.15 <= bpp <= 0.3 for _, bpp, *_ in shipped)
    faithful, sharp = measured("psnr", 2), measured("psnr", 3)
    assert faithful - 0.7 <= sharp < faithful
    for name in names:
        assert measured(name, 3) <= 0.8 * measured(name, 2)


def test_large_arrays_are_stored_by_byte_planes_and_restored(tmp_path):
    model = models.build("bls2017", channels=16, latents=16)
    files.save(model, tmp_path / "weights.npz")
    with np.load(tmp_path / "weights.npz") as arrays:
        assert any(name.endswith(files.PLANES) for name in arrays.files)
    state = files.read(tmp_path / "weights.npz").state
    for name, value in storable(model.state()).items():
        np.testing.assert_array_equal(state[name], value)
        assert state[name].dtype == value.dtype


def test_weights_of_a_later_release_are_refused_by_name(tmp_path):
    path = tmp_path / "weights.npz"
    meta = json.dumps({"format": files.FORMAT + 1, "model": "bls2017", "config": {}})
    np.savez(path, __meta__=np.array(meta))
    with pytest.raises(ValueError, match="of a later release of tfc-models"):
        files.read(path)


def test_a_distortion_of_an_earlier_release_keeps_its_meaning(tmp_path):
    """Files of older formats call pim-bands pim; current files keep both names."""
    for number, metric in ((2, "pim-bands"), (files.FORMAT, "pim")):
        meta = {"format": number, "model": "bls2017", "config": {"distortion": "mse + 40*pim"}}
        np.savez(tmp_path / "weights.npz", __meta__=np.array(json.dumps(meta)))
        config = files.read(tmp_path / "weights.npz").config
        assert config == {"distortion": f"mse + 40*{metric}"}


def test_the_op_library_may_be_loaded_before_the_codec():
    """TensorFlow would load the library twice, and lose its operations, by another path."""
    code = "import tfc_models; tfc_models.register_ops(); import tensorflow_compression"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=ROOT)
