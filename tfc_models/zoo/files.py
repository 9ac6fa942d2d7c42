"""Weights files: a model's name, configuration and values in one npz or .tfcw file.

Learned values are stored as float16. Results of freezing (coding tables, exponents of the exact
networks) are stored as integers, so that a frozen model is the same on every machine. The first and
second bytes of large float16 arrays are stored apart, which deflate compresses by a further tenth.

Files of rounded weights (.tfcw, see `tfc_models.weights`) take about a third of the space.
"""

from __future__ import annotations

import json
import pathlib
import re
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tfc_models.byte_fields import DamagedFileError
from tfc_models.models.stored import storable
from tfc_models.remote import (
    COMPRESSED_MAGIC,
    NewerWeightsError,
    read_weights,
    sha256_of,
    write_file,
    write_weights,
)
from tfc_models.weights import encode
from tfc_models.weights.weight_file import Tensor

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


def save_rounded(
    model: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], path: pathlib.Path
) -> None:
    """Writes values of which some are rounded, as .tfcw. The write is atomic."""
    metadata = {"format": FORMAT, "model": model, "config": dict(config)}
    write_file(path, encode(tensors, metadata))


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


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        if file.read(len(COMPRESSED_MAGIC)) == COMPRESSED_MAGIC:
            return read_weights(path)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def read(path: pathlib.Path) -> Weights:
    """Reads a weights file. Raises an error of one line if it cannot."""
    try:
        arrays = _arrays(path)
        meta = json.loads(str(arrays.pop("__meta__")))
        if meta["format"] > FORMAT:
            raise NewerWeightsError(f"{path} is of a later release of tfc-models: update it.")
        state = dict(_unpacked(name, values) for name, values in arrays.items())
        config = meta["config"]
        if meta["format"] < 3 and "distortion" in config:
            config["distortion"] = re.sub(r"\bpim\b", "pim-bands", config["distortion"])
        return Weights(meta["model"], config, state)
    except (NewerWeightsError, DamagedFileError):
        raise
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no weights file {path}.") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a weights file of tfc-models, or is damaged.") from error
