"""Addition of decoders to models of a zoo. Published files are not changed."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable

from absl import logging

from tfc_models.models import CompressionModel
from tfc_models.remote import sha256_of
from tfc_models.zoo import build_model, files

MAX_BYTES = 6 << 20


def add_decoder(
    folder: pathlib.Path,
    name: str,
    kind: str,
    weights: pathlib.Path,
    card_of: Callable[[CompressionModel], str],
) -> pathlib.Path:
    """Copies a decoder's weights into a zoo, with a card; returns the path of the copy.

    If the model's entry already has a decoder of this kind, the new one gets the next version
    number. Errors leave the zoo unchanged.

    Args:
        folder: of the zoo.
        name: of the model; its newest version gets the decoder.
        kind: "realism" or "fast", as in the file's name and the entry.
        weights: weights file of the decoder.
        card_of: returns the text of the card, given the model.
    """
    index_path = folder / "index.json"
    if not index_path.exists():
        raise ValueError(f"there is no zoo in {folder}.")
    index = json.loads(index_path.read_text(encoding="utf-8"))
    versions = [item for item in index if item["name"] == name]
    if not versions:
        raise ValueError(f"there is no {name} in {index_path}.")
    newest = max(versions, key=lambda item: item["version"])
    if weights.stat().st_size > MAX_BYTES:
        raise ValueError(f"a {kind} decoder of the zoo has at most {MAX_BYTES >> 20} MiB.")
    text = card_of(build_model(files.read(folder / newest["file"])))
    stem = f"{pathlib.Path(newest['file']).stem}.{kind}"
    paths = (folder / f"{stem}{v}.npz" for v in ("", *(f".v{i}" for i in range(2, 1000))))
    path = next(path for path in paths if not path.exists())
    partial = path.with_suffix(".part")
    shutil.copyfile(weights, partial)
    partial.replace(path)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    newest.update({kind: path.name, f"{kind}_sha256": sha256_of(path)})
    partial = index_path.with_suffix(".part")
    partial.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    partial.replace(index_path)
    logging.info("%s: %.2f MiB, for %s", path, path.stat().st_size / 2**20, newest["digest"])
    return path
