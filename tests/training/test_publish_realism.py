"""A realism decoder enters a zoo: its file, card and entry, and what keeps it out."""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil

import pytest
from PIL import Image

from tests.conftest import GOLDEN, cropped, golden_codec, random_realism
from tfc_models import zoo
from tfc_models.realism import decoder_file
from tfc_models.training import realism_publishing, zoo_additions

NAME = "mbt2018-mean"  # of one rate, so that there is little to measure


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """A zoo of one model, a decoder's weights, and a image."""
    (tmp_path / "zoo").mkdir()
    (tmp_path / "images").mkdir()
    shutil.copy(GOLDEN / f"{NAME}.npz", tmp_path / "zoo" / "mine.npz")
    codec = golden_codec(NAME)
    entry = {"name": "mine", "version": 1, "default": True, "model": NAME, "digest": codec.digest}
    entry |= {"file": "mine.npz", "sha256": "", "summary": ""}
    (tmp_path / "zoo" / "index.json").write_text(json.dumps([entry]))
    decoder = random_realism(codec.model, blocks=(1, 0))
    decoder_file.save(decoder, codec.digest, tmp_path / "weights.npz")
    Image.fromarray(cropped(48, 64)).save(tmp_path / "images" / "a.png")
    return tmp_path


def publish(folder: pathlib.Path, **changes: str) -> pathlib.Path:
    options = {"name": "mine", "note": "in a minute", "invents": "windows", **changes}
    options = {"selected": "the width", **options}
    weights, validation = folder / "weights.npz", str(folder / "images")
    return realism_publishing.publish(
        folder / "zoo", weights=weights, validation=validation, **options
    )


@pytest.mark.usefixtures("eager")
def test_decoders_are_published_with_cards_and_never_changed(folder, monkeypatch):
    monkeypatch.setattr(realism_publishing, "METRIC_NAMES", ("psnr",))
    monkeypatch.setattr(realism_publishing, "REALISM_VALUES", (0.0, 1.0))
    monkeypatch.setattr(zoo, "FOLDER", folder / "zoo")

    def entry() -> zoo.Entry:
        (found,) = json.loads((folder / "zoo" / "index.json").read_text())
        return zoo.Entry(**found)

    first = publish(folder)
    assert first.read_bytes() == (folder / "weights.npz").read_bytes()
    assert first.name == entry().realism == "mine.realism.npz"
    assert entry().realism_sha256 == hashlib.sha256(first.read_bytes()).hexdigest()
    assert zoo.realism_of(entry()) == first
    text = first.with_suffix(".md").read_text()
    digest = golden_codec(NAME).digest
    for words in (
        f"For: `mine`, digest `{digest}`",
        "in a minute",
        "windows",
        "Selected with them: the width",
        "blocks (1, 0)",
    ):
        assert words in text
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    (head, *body) = ([cell.strip() for cell in row] for row in rows)
    assert head == ["quality", "realism", "bits per pixel", "PSNR dB"]
    assert [row[:2] for row in body] == [["0", "0"], ["0", "1"]]
    # The files are equal, and the decoded images differ.
    assert body[0][2] == body[1][2] and body[0][3] != body[1][3]

    second = publish(folder, note="again")
    assert second.name == entry().realism == "mine.realism.v2.npz"
    assert "again" in second.with_suffix(".md").read_text()
    assert first.with_suffix(".md").read_text() == text and first.exists()
    assert not list((folder / "zoo").glob("*.part"))


@pytest.mark.usefixtures("eager")
def test_errors_leave_the_zoo_unchanged(folder, monkeypatch):
    before = sorted((folder / "zoo").iterdir())
    monkeypatch.setenv("TFC_MODELS_LPIPS", "")
    with pytest.raises(ValueError, match="TFC_MODELS_LPIPS"):
        publish(folder)
    with pytest.raises(ValueError, match=r"there is no yours in \S*index\.json"):
        publish(folder, name="yours")
    monkeypatch.setattr(realism_publishing, "METRIC_NAMES", ("psnr",))
    (folder / "images" / "a.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match="has no readable images"):
        publish(folder)
    monkeypatch.setattr(zoo_additions, "MAX_BYTES", 1 << 10)
    with pytest.raises(ValueError, match="has at most 0 MiB"):
        publish(folder)
    assert sorted((folder / "zoo").iterdir()) == before
    (folder / "zoo" / "index.json").unlink()
    with pytest.raises(ValueError, match="there is no zoo in"):
        publish(folder)
