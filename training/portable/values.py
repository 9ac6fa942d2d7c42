"""Values of an exported step's variables: the first ones, and those of a checkpoint.

initial.npz leaves out what its manifest describes otherwise: variables that begin at zero, as the
moments of optimizers do, and moving averages, which begin at the weights.
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
HALF_SIZE = 1000  # Smaller arrays, as of gains, stay exact: they cost no space.


def compacted(
    values: dict[str, np.ndarray], half: bool
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the arrays to store, and for each variable where its first value comes from.

    Args:
        values: by the names of the variables.
        half: whether large arrays of weights may lose precision to float16. Without it only
            those become float16 that have nothing to lose.
    """
    kept, origins = {}, {}
    for name, value in values.items():
        twin = name.replace("average/", "weights/", 1)
        if not np.any(value):
            origins[name] = ZEROS
        elif twin != name and twin in values and np.array_equal(value, values[twin]):
            origins[name] = twin
        else:
            kept[name], origins[name] = _narrowed(value, half), STORED
    return kept, origins


def _narrowed(value: np.ndarray, half: bool) -> np.ndarray:
    if value.dtype != np.float32 or value.size < HALF_SIZE:
        return value
    with np.errstate(over="ignore"):
        narrow = value.astype(np.float16)
    if np.array_equal(narrow, value) or (half and np.all(np.isfinite(narrow))):
        return narrow
    return value


def manifest_of(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the manifest of an exported step."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} holds no exported step: no manifest.json.") from None
    if manifest.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {manifest.get('format')}; this reads {FORMAT}: export it again."
        )
    return manifest


def initial(folder: pathlib.Path, manifest: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns the values that training begins with, by name."""
    path = folder / "initial.npz"
    stored = arrays_of(path, path.read_bytes())
    inputs = {x["name"]: x for x in manifest["inputs"] if "initial" in x}
    found = {}
    for name, described in inputs.items():
        origin = described["initial"]
        if origin == ZEROS:
            found[name] = np.zeros(described["shape"], described["dtype"])
            continue
        source = name if origin == STORED else origin
        if source not in stored:
            raise ValueError(f"{path} lacks {source}: copy it again from where it was exported.")
        found[name] = stored[source].astype(described["dtype"])
    return found


def arrays_of(path: pathlib.Path, content: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of an .npz file's content."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {k: arrays[k] for k in arrays.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile):
        raise ValueError(f"{path} is damaged: remove it, or bring another.") from None


def checkpoint_of(
    path: pathlib.Path, content: bytes, digest: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns the values of a checkpoint of the step with this digest, and its facts."""
    values = arrays_of(path, content)
    if "__meta__" not in values:
        raise ValueError(f"{path} is not a checkpoint of the runner.")
    meta = json.loads(str(values.pop("__meta__")))
    if meta["digest"] != digest:
        raise ValueError(f"{path} is of another step: choose another --workdir.")
    return values, meta


def content_of(values: dict[str, np.ndarray], meta: dict[str, Any]) -> bytes:
    """Returns the content of a checkpoint file."""
    file = io.BytesIO()
    np.savez(file, __meta__=np.array(json.dumps(meta)), **values)
    return file.getvalue()


def write(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
