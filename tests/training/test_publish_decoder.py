"""A fast decoder enters a zoo: its file, card and entry."""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil

import pytest
from PIL import Image

from tests.conftest import GOLDEN, cropped, golden_codec, half_decoder
from tfc_models import zoo
from tfc_models.decoders import decoder_file
from tfc_models.training import decoder_publishing

NAME = "mbt2018-mean"  # of one rate, so that there is little to measure


@pytest.mark.usefixtures("eager")
def test_decoders_are_published_with_cards(tmp_path, monkeypatch):
    folder, images = tmp_path / "zoo", tmp_path / "images"
    folder.mkdir()
    images.mkdir()
    shutil.copy(GOLDEN / f"{NAME}.npz", folder / "mine.npz")
    codec = golden_codec(NAME)
    entry = {"name": "mine", "version": 1, "default": True, "model": NAME, "digest": codec.digest}
    entry |= {"file": "mine.npz", "sha256": "", "summary": ""}
    (folder / "index.json").write_text(json.dumps([entry]))
    decoder_file.save(half_decoder(codec.model), codec.digest, tmp_path / "weights.npz")
    Image.fromarray(cropped(48, 64)).save(images / "a.png")
    monkeypatch.setattr(decoder_publishing, "METRIC_NAMES", ("psnr",))
    monkeypatch.setattr(zoo, "FOLDER", folder)

    def publish(note: str) -> pathlib.Path:
        weights = tmp_path / "weights.npz"
        return decoder_publishing.publish(folder, "mine", weights, str(images), note, "nothing")

    first = publish("in a minute")
    (found,) = (zoo.Entry(**item) for item in json.loads((folder / "index.json").read_text()))
    assert first.name == found.fast == "mine.fast.npz" and zoo.fast_of(found) == first
    assert found.fast_sha256 == hashlib.sha256(first.read_bytes()).hexdigest()
    text = first.with_suffix(".md").read_text()
    words = (
        f"For: `mine`, digest `{codec.digest}`",
        "in a minute",
        "Selected with them: nothing",
        "% of the model's own",
    )
    assert all(word in text for word in words)
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    (head, full, fast) = ([cell.strip() for cell in row] for row in rows)
    assert head == ["quality", "decoder", "bits per pixel", "PSNR dB"]
    assert full[:3] == ["0", "full", fast[2]] and fast[1] == "fast" and full[3] != fast[3]
    second = publish("again")
    assert second.name == "mine.fast.v2.npz" and first.with_suffix(".md").read_text() == text
