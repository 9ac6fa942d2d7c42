"""Values of an exported step's variables: initial values and checkpoints.

initial.npz does not contain variables whose initial values the manifest describes: zeros, such as
the optimizers' moments, and moving averages, which equal the weights.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import zipfile
from typing import Any

import numpy as np

FORMAT = 2  # of manifest.json
STORED, ZEROS = "stored", "zeros"
MIN_HALF_SIZE = 1000  # Smaller arrays, such as gains, stay exact, as they hardly need space.


def compact(
    values: dict[str, np.ndarray], half: bool
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the arrays to store, and the origin of each variable's initial value.

    Args:
        values: values by the names of the variables.
        half: whether large arrays of weights are rounded to float16. Otherwise, only arrays that
            float16 represents exactly are stored as float16.
    """
    stored, origins = {}, {}
    for name, value in values.items():
        twin = name.replace("average/", "weights/", 1)
        if not np.any(value):
            origins[name] = ZEROS
        elif twin != name and twin in values and np.array_equal(value, values[twin]):
            origins[name] = twin
        else:
            stored[name], origins[name] = _to_float16(value, half), STORED
    return stored, origins


def _to_float16(value: np.ndarray, half: bool) -> np.ndarray:
    """Converts an array to float16 if it is large and `half` or exactness permits it."""
    if value.dtype != np.float32 or value.size < MIN_HALF_SIZE:
        return value
    with np.errstate(over="ignore"):
        converted = value.astype(np.float16)
    if np.array_equal(converted, value) or (half and np.all(np.isfinite(converted))):
        return converted
    return value


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the manifest of an exported step."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} has no exported step: no manifest.json.") from None
    if manifest.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {manifest.get('format')}, not {FORMAT}: export it again."
        )
    return manifest


def initial(folder: pathlib.Path, manifest: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns the initial values by name."""
    path = folder / "initial.npz"
    stored = read_arrays(path, path.read_bytes())
    inputs = {x["name"]: x for x in manifest["inputs"] if "initial" in x}
    values = {}
    for name, variable in inputs.items():
        origin = variable["initial"]
        if origin == ZEROS:
            values[name] = np.zeros(variable["shape"], variable["dtype"])
            continue
        source = name if origin == STORED else origin
        if source not in stored:
            raise ValueError(f"{path} lacks {source}: copy it again from the exported step.")
        values[name] = stored[source].astype(variable["dtype"])
    return values


def read_arrays(path: pathlib.Path, content: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of an .npz file's content."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {k: arrays[k] for k in arrays.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile):
        raise ValueError(f"{path} is damaged: remove it, or replace it by a copy.") from None


def read_checkpoint(
    path: pathlib.Path, content: bytes, digest: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns a checkpoint's values and metadata; raises ValueError for another step's digest."""
    values = read_arrays(path, content)
    if "__meta__" not in values:
        raise ValueError(f"{path} is not a checkpoint of the runner.")
    meta = json.loads(str(values.pop("__meta__")))
    if meta["digest"] != digest:
        raise ValueError(f"{path} is of another step: choose another --workdir.")
    return values, meta


def checkpoint_bytes(values: dict[str, np.ndarray], meta: dict[str, Any]) -> bytes:
    """Returns the content of a checkpoint file."""
    file = io.BytesIO()
    np.savez(file, __meta__=np.array(json.dumps(meta)), **values)
    return file.getvalue()


def write(path: pathlib.Path, content: bytes) -> None:
    """Writes a file atomically."""
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
