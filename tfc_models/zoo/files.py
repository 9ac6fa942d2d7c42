"""Weights files: one npz with a model's name, configuration and values.

Learned values are stored as float16. Results of freezing (coding tables, exponents of the exact
networks) are stored as integers, so that a frozen model is the same on every machine. The first and
second bytes of large float16 arrays are stored apart, which deflate compresses by a further tenth.
"""

from __future__ import annotations

import json
import pathlib
import re
import zipfile
from typing import Any, NamedTuple

import numpy as np

from tfc_models.models.stored import storable
from tfc_models.remote import NewerWeightsError, sha256_of, write_weights

FORMAT = 3  # Up to format 2, `pim` in a distortion means pim-bands.
PLANES = "#bytes"  # suffix of arrays whose bytes are stored apart
LARGE = 1000  # numbers


class Weights(NamedTuple):
    """Contents of a weights file."""

    model: str
    config: dict[str, Any]
    state: dict[str, np.ndarray]

    @property
    def frozen(self) -> bool:
        """Whether the values include coding tables."""
        return any(k.endswith("cdf") for k in self.state)


def check_sha256(path: pathlib.Path, expected: str) -> None:
    """Raises ValueError if a file has another digest than expected."""
    actual = sha256_of(path)
    if actual != expected:
        raise ValueError(
            f"{path} has SHA-256 {actual[:12]}…, not {expected[:12]}…: install tfc-models again."
        )


def save(model: Any, path: pathlib.Path) -> None:
    """Writes a model's weights. The write is atomic: readers see the old or the new file."""
    meta = {"format": FORMAT, "model": model.name, "config": model.config}
    arrays = dict(map(_packed, *zip(*storable(model.state()).items())))
    write_weights(path, {"__meta__": np.array(json.dumps(meta, sort_keys=True)), **arrays})


def _packed(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns values as stored: the first bytes of large float16 arrays, then the second bytes."""
    if values.dtype != np.float16 or values.size < LARGE:
        return name, values
    planes = np.ascontiguousarray(values)[..., None].view(np.uint8)
    return f"{name}{PLANES}", np.moveaxis(planes, -1, 0).copy()


def _unpacked(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    if not name.endswith(PLANES):
        return name, values
    whole = np.ascontiguousarray(np.moveaxis(values, 0, -1)).view(np.float16)
    return name[: -len(PLANES)], whole[..., 0]


def read(path: pathlib.Path) -> Weights:
    """Reads a weights file. Raises an error of one line if it cannot."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            meta = json.loads(str(arrays["__meta__"]))
            if meta["format"] > FORMAT:
                raise NewerWeightsError(f"{path} is of a later release of tfc-models: update it.")
            state = dict(_unpacked(k, arrays[k]) for k in arrays.files if k != "__meta__")
        config = meta["config"]
        if meta["format"] < 3 and "distortion" in config:
            config["distortion"] = re.sub(r"\bpim\b", "pim-bands", config["distortion"])
        return Weights(meta["model"], config, state)
    except NewerWeightsError:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no weights file {path}.") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a weights file of tfc-models, or is damaged.") from error
