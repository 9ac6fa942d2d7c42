"""Trained weights, their cards and digests. Weights under a name never change."""

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

    @property
    def path(self) -> pathlib.Path:
        """The weights file."""
        return FOLDER / self.file

    @property
    def card(self) -> pathlib.Path:
        """What the weights are, and what they reached."""
        return self.path.with_suffix(".md")


@functools.cache
def entries() -> tuple[Entry, ...]:
    """What the zoo holds: the default first, of a name the newest version first."""
    listed = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
    found = [Entry(**item) for item in listed]
    return tuple(sorted(found, key=lambda e: (not e.default, e.name, -e.version)))


def list_models() -> list[str]:
    """Names that `load` takes, the default first."""
    return list(dict.fromkeys(entry.name for entry in entries()))


def entry_of(name: str) -> Entry | None:
    """The newest version of a name, or the default; None if the zoo has none of that name."""
    named = [e for e in entries() if name == e.name or (name == DEFAULT and e.default)]
    return max(named, key=lambda e: e.version) if named else None


def realism_of(entry: Entry) -> pathlib.Path:
    """The file of the realism decoder of an entry that has one."""
    from tfc_models.zoo import files

    path = FOLDER / entry.realism
    files.check_sha256(path, entry.realism_sha256)
    return path


def find(name: str) -> tuple[Weights, str]:
    """Weights, and the name that files carry.

    Args:
        name: of the zoo, "default", the path of a weights file, or the https address of one
            with `#sha256=` and its SHA-256.
    """
    from tfc_models.zoo import files

    if entry := entry_of(name):
        return read(entry), entry.name
    path = remote.fetch(name) if remote.is_address(name) else pathlib.Path(name)
    if path.suffix == ".npz" or path.exists():
        weights = files.read(path)
        return weights, weights.model
    raise ValueError(
        f"there is no model {name!r} in the zoo, nor such a weights file; "
        f"the models are {', '.join(list_models())}."
    )


def read(entry: Entry) -> Weights:
    """The weights of an entry."""
    from tfc_models.zoo import files

    files.check_sha256(entry.path, entry.sha256)
    return files.read(entry.path)


def build_model(weights: Weights) -> CompressionModel:
    """The model of a weights file, with its weights; frozen if they were."""
    from tfc_models import models

    # Kernels are stored plain, and nothing here trains: no need for the Fourier domain.
    model = models.build(weights.model, **{**weights.config, "kernel": "plain"})
    if weights.frozen:
        model.restore_frozen(weights.state)
    else:
        model.assign_state(weights.state)
    return model
