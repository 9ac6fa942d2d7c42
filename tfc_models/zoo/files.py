"""Weights files: one npz with a model's name, configuration and values.

Learned values are stored as float16; what freezing made (coding tables, exponents of the
exact networks) as integers, so that a frozen model is the same wherever it is loaded.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import zipfile
from typing import Any, NamedTuple

import numpy as np

from tfc_models.models.stored import storable
from tfc_models.remote import sha256_of


class Weights(NamedTuple):
    """What a weights file holds."""

    model: str
    config: dict[str, Any]
    state: dict[str, np.ndarray]

    @property
    def frozen(self) -> bool:
        """Whether coding tables are among the values."""
        return any(k.endswith("cdf") for k in self.state)


def check_sha256(path: pathlib.Path, expected: str) -> None:
    """Refuses a file that is not the one that was meant."""
    found = sha256_of(path)
    if found != expected:
        raise ValueError(
            f"{path} has SHA-256 {found[:12]}…, not {expected[:12]}…: install tfc-models again."
        )


def save(model: Any, path: pathlib.Path) -> None:
    """Writes a model's weights, atomically: whoever reads sees the old file or the new one."""
    meta = json.dumps({"format": 1, "model": model.name, "config": model.config}, sort_keys=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, __meta__=np.array(meta), **storable(model.state()))
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(buffer.getvalue())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: pathlib.Path) -> Weights:
    """Reads a weights file, or says in one line why it cannot."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            state = {k: arrays[k] for k in arrays.files}
        meta = json.loads(str(state.pop("__meta__")))
        return Weights(meta["model"], meta["config"], state)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no weights file {path}.") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a weights file of tfc-models, or is damaged.") from error
