"""A rounded model enters a zoo: it is smaller, and decodes the files of the earlier version."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import GOLDEN, cropped, golden_codec, half_decoder
from tfc_models import codec, zoo
from tfc_models.decoders import decoder_file
from tfc_models.realism import RealismDecoder
from tfc_models.realism import decoder_file as realism_file
from tfc_models.remote import sha256_of
from tfc_models.training.rounded_publishing import Rounding, publish_rounded
from tfc_models.zoo import files

NAME = "gained-checkerboard"


def _zoo(folder):
    """Writes a zoo with a model and its other decoders; returns the codec."""
    folder.mkdir()
    before = golden_codec(NAME)
    shutil.copy(GOLDEN / f"{NAME}.npz", folder / "mine.npz")
    (folder / "mine.md").write_text("# mine\n\n## Training\n\nOn photos.\n\n## Results\n\nGood.\n")
    decoder_file.save(half_decoder(before.model), before.digest, folder / "mine.fast.npz")
    realism_file.save(RealismDecoder(before.model), before.digest, folder / "mine.realism.npz")
    (folder / "mine.fast.md").write_text(f"# Fast\n\n- For: `mine`, digest `{before.digest}`\n")
    entry = {
        "name": "mine",
        "version": 1,
        "default": True,
        "model": NAME,
        "digest": before.digest,
        "file": "mine.npz",
        "sha256": sha256_of(folder / "mine.npz"),
        "summary": "",
        "fast": "mine.fast.npz",
        "realism": "mine.realism.npz",
    }
    (folder / "index.json").write_text(json.dumps([entry]))
    return before


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Returns the folder of a zoo with a rounded model, its entry, and the codec before."""
    folder = tmp_path_factory.mktemp("rounding") / "zoo"
    before = _zoo(folder)
    images = folder.parent / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for i in range(2):
        Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)).save(images / f"{i}.png")
    publish_rounded(Rounding("mine", str(images), 1e-4, 1e-4, crops=4, side=64, folder=folder))
    (item,) = json.loads((folder / "index.json").read_text())
    return folder, zoo.Entry(**item), before


def test_the_file_is_smaller_and_the_entry_names_the_earlier_digest(published):
    folder, entry, before = published
    path = folder / entry.file
    assert path.stat().st_size < 0.7 * (folder / "mine.npz").stat().st_size
    assert (entry.version, entry.decodes) == (2, [before.digest])
    assert entry.sha256 == sha256_of(path) and entry.digest != before.digest
    text = path.with_suffix(".md").read_text()
    assert "On photos." in text and "Good." not in text
    assert entry.digest in (folder / "mine.v2.fast.md").read_text()


def test_earlier_files_decode_to_the_same_latents(published):
    folder, entry, before = published
    data = (GOLDEN / f"{NAME}.tfcm").read_bytes()
    model = zoo.build_model(files.read(folder / entry.file))
    after = codec.Codec(model, NAME, decodes=entry.decodes)
    np.testing.assert_array_equal(after.latents(data), before.latents(data))
    difference = after.decompress(data).astype(int) - before.decompress(data)
    assert np.sqrt(np.mean(difference**2)) < 6.0
    with pytest.raises(codec.BitstreamError, match="which is not this one"):
        codec.Codec(model, NAME).decompress(data)
    own = after.compress(cropped(48, 64))
    assert after.decompress(own).shape == (48, 64, 3)


def test_the_other_decoders_fit_the_new_version(published):
    folder, entry, _ = published
    model = zoo.build_model(files.read(folder / entry.file))
    for kind, module in (("fast", decoder_file), ("realism", realism_file)):
        path = folder / getattr(entry, kind)
        module.build(module.read(path), model)
        assert path.stat().st_size < (folder / f"mine.{kind}.npz").stat().st_size


def test_errors_leave_the_zoo_unchanged(published):
    folder, _, _ = published
    index = (folder / "index.json").read_text()
    with pytest.raises(ValueError, match="there is no other"):
        publish_rounded(Rounding("other", "x", 1e-4, 1e-4, folder=folder))
    with pytest.raises(ValueError, match="--selected"):
        publish_rounded(Rounding("mine", "x", 1e-4, 1e-4, validation="x", folder=folder))
    with pytest.raises(ValueError, match="no images"):
        publish_rounded(Rounding("mine", str(folder / "none"), 1e-4, 1e-4, folder=folder))
    assert (folder / "index.json").read_text() == index
