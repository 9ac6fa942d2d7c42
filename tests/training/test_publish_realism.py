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
from tfc_models.training import realism_publishing as publish_realism

NAME = "mbt2018-mean"  # of one rate, so that there is little to measure


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """A zoo of one model, a decoder's weights, and a picture."""
    (tmp_path / "zoo").mkdir()
    (tmp_path / "pictures").mkdir()
    shutil.copy(GOLDEN / f"{NAME}.npz", tmp_path / "zoo" / "mine.npz")
    codec = golden_codec(NAME)
    entry = {"name": "mine", "version": 1, "default": True, "model": NAME, "digest": codec.digest}
    entry |= {"file": "mine.npz", "sha256": "", "summary": ""}
    (tmp_path / "zoo" / "index.json").write_text(json.dumps([entry]))
    decoder = random_realism(codec.model, blocks=(1, 0))
    decoder_file.save(decoder, codec.digest, tmp_path / "weights.npz")
    Image.fromarray(cropped(48, 64)).save(tmp_path / "pictures" / "a.png")
    return tmp_path


def published(folder: pathlib.Path, **changes: str) -> pathlib.Path:
    told = {"name": "mine", "note": "in a minute", "invents": "windows", **changes}
    told = {"selected": "the width", **told}
    weights, validation = folder / "weights.npz", str(folder / "pictures")
    return publish_realism.publish(folder / "zoo", weights=weights, validation=validation, **told)


@pytest.mark.usefixtures("eager")
def test_what_is_published_is_there_with_its_card_and_stays(folder, monkeypatch):
    monkeypatch.setattr(publish_realism, "NAMES", ("psnr",))
    monkeypatch.setattr(publish_realism, "AMOUNTS", (0.0, 1.0))
    monkeypatch.setattr(zoo, "FOLDER", folder / "zoo")

    def entry() -> zoo.Entry:
        (found,) = json.loads((folder / "zoo" / "index.json").read_text())
        return zoo.Entry(**found)

    first = published(folder)
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
        "chosen by looking at them: the width",
        "blocks (1, 0)",
    ):
        assert words in text
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    (head, *body) = ([cell.strip() for cell in row] for row in rows)
    assert head == ["quality", "realism", "bits per pixel", "PSNR dB"]
    assert [row[:2] for row in body] == [["0", "0"], ["0", "1"]]
    # The same file, and another picture.
    assert body[0][2] == body[1][2] and body[0][3] != body[1][3]

    second = published(folder, note="again")
    assert second.name == entry().realism == "mine.realism.v2.npz"
    assert "again" in second.with_suffix(".md").read_text()
    assert first.with_suffix(".md").read_text() == text and first.exists()
    assert not list((folder / "zoo").glob("*.part"))


@pytest.mark.usefixtures("eager")
def test_what_cannot_be_published_is_one_line_and_leaves_the_zoo_alone(folder, monkeypatch):
    before = sorted((folder / "zoo").iterdir())
    monkeypatch.setenv("TFC_MODELS_LPIPS", "")
    with pytest.raises(ValueError, match="TFC_MODELS_LPIPS"):
        published(folder)
    with pytest.raises(ValueError, match=r"there is no yours in \S*index\.json"):
        published(folder, name="yours")
    monkeypatch.setattr(publish_realism, "NAMES", ("psnr",))
    (folder / "pictures" / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="has no picture that can be read"):
        published(folder)
    monkeypatch.setattr(publish_realism, "LARGEST", 1 << 10)
    with pytest.raises(ValueError, match="has at most 0 MiB"):
        published(folder)
    assert sorted((folder / "zoo").iterdir()) == before
    (folder / "zoo" / "index.json").unlink()
    with pytest.raises(ValueError, match="there is no zoo in"):
        published(folder)
