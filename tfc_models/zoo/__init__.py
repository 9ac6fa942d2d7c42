"""Trained weights with their cards and digests. Weights under one name never change.

This package imports `models` and the packages below it. Listing models does not import TensorFlow.
"""

from __future__ import annotations

import functools
import json
import pathlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfc_models import remote

if TYPE_CHECKING:
    from tfc_models.models import CompressionModel
    from tfc_models.zoo.files import Weights

FOLDER = pathlib.Path(__file__).parent / "weights"
DEFAULT = "default"


@dataclass(frozen=True)
class Entry:
    """One model of the zoo."""

    name: str
    version: int
    default: bool
    model: str
    digest: str
    file: str
    sha256: str
    summary: str
    realism: str = ""
    realism_sha256: str = ""
    fast: str = ""
    fast_sha256: str = ""
    decodes: tuple[str, ...] = ()
    """Digests of earlier weights whose files decode to the same latents with these."""

    @property
    def path(self) -> pathlib.Path:
        """Path of the weights file."""
        return FOLDER / self.file

    @property
    def card(self) -> pathlib.Path:
        """Text of the card: training, data and results."""
        return self.path.with_suffix(".md")


@functools.cache
def entries() -> tuple[Entry, ...]:
    """Returns the models of the zoo, the default first, each in its newest version."""
    listed = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
    for item in listed:
        item["decodes"] = tuple(item.get("decodes", ()))
    listed_entries = [Entry(**item) for item in listed]
    return tuple(sorted(listed_entries, key=lambda e: (not e.default, e.name, -e.version)))


def list_models() -> list[str]:
    """Returns the names that `load` takes, the default first."""
    return list(dict.fromkeys(entry.name for entry in entries()))


def entry_of(name: str) -> Entry | None:
    """Returns the newest version of a name or of the default; None if the zoo lacks the name."""
    named = [e for e in entries() if name == e.name or (name == DEFAULT and e.default)]
    return max(named, key=lambda e: e.version) if named else None


def realism_of(entry: Entry) -> pathlib.Path:
    """Returns the path of an entry's realism decoder."""
    from tfc_models.zoo import files

    path = FOLDER / entry.realism
    files.check_sha256(path, entry.realism_sha256)
    return path


def fast_of(entry: Entry) -> pathlib.Path:
    """Returns the path of an entry's fast decoder."""
    from tfc_models.zoo import files

    path = FOLDER / entry.fast
    files.check_sha256(path, entry.fast_sha256)
    return path


def find(name: str) -> tuple[Weights, str]:
    """Returns weights, and the name that is written to files.

    Args:
        name: name in the zoo, "default", path of a weights file, or an https address ending in
            `#sha256=` and the SHA-256.
    """
    from tfc_models.zoo import files

    if entry := entry_of(name):
        return read(entry), entry.name
    path = remote.fetch(name) if remote.is_address(name) else pathlib.Path(name)
    if path.suffix in (".npz", ".tfcw") or path.exists():
        weights = files.read(path)
        return weights, weights.model
    raise ValueError(
        f"there is no model {name!r} in the zoo, nor such a weights file; "
        f"the models are {', '.join(list_models())}."
    )


def read(entry: Entry) -> Weights:
    """Returns the weights of an entry."""
    from tfc_models.zoo import files

    files.check_sha256(entry.path, entry.sha256)
    return files.read(entry.path)


def build_model(weights: Weights) -> CompressionModel:
    """Returns the model of a weights file, with its weights; frozen if they were."""
    from tfc_models import models

    # Plain kernels suffice: files store them, and loaded models do not train.
    model = models.build(weights.model, **{**weights.config, "kernel": "plain"})
    if weights.frozen:
        model.restore_frozen(weights.state)
    else:
        model.assign_state(weights.state)
    return model
