"""Weights by name, by path and by address: what was asked for, or an error."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import types
import urllib.error
import urllib.request

import pytest

import tfc_models
from tests.conftest import GOLDEN, cropped
from tfc_models import zoo
from tfc_models.codec import codec_for

SOURCE = GOLDEN / "bls2017.npz"
SHA256 = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
ADDRESS = f"https://example.org/weights.npz#sha256={SHA256}"


class Response(io.BytesIO):
    headers = types.MappingProxyType({})


@pytest.fixture
def web(monkeypatch, tmp_path):
    """An internet that holds one file; the list says what was fetched."""
    fetched = []

    def urlopen(url, timeout):
        fetched.append(url)
        if not url.endswith("weights.npz"):
            raise urllib.error.URLError("no such host")
        return Response(SOURCE.read_bytes())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setenv("TFC_MODELS_CACHE", str(tmp_path / "cache"))
    return fetched


def test_an_address_is_fetched_once_and_kept(web, tmp_path):
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
    # What was kept and then damaged is fetched again.
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
def test_what_is_not_the_file_that_was_meant_is_refused(web, tmp_path, address, says):
    with pytest.raises((ValueError, OSError), match=says):
        tfc_models.load(address)
    assert not list((tmp_path / "cache").glob("*"))


def test_every_version_of_a_name_decodes(monkeypatch, tmp_path):
    """Its newest version is what a name loads; a file finds the version that made it."""
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
        picture = cropped(40, 50)
        data = tfc_models.Codec(old, "photo").compress(picture)
        assert codec_for(data).digest == entries[0]["digest"]
        assert codec_for(data).decompress(data).shape == picture.shape
    finally:
        zoo.entries.cache_clear()
