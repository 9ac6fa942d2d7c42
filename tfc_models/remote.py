"""Weights files: https addresses with a SHA-256, a local cache, reading and writing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import urllib.error
import urllib.request
import zipfile
import zlib

import numpy as np

from tfc_models.byte_fields import DamagedFileError

COMPRESSED_MAGIC = b"TFCW"
MARK = "#sha256="
TIMEOUT = 60.0  # seconds without data
LARGEST = 2**30  # bytes


class NewerWeightsError(ValueError):
    """Raised for a file format of a later release."""


def is_address(name: str) -> bool:
    """Returns whether the name of a model is an address."""
    return "://" in name


def cache_folder() -> pathlib.Path:
    """Returns the folder of fetched weights: TFC_MODELS_CACHE, or the user's cache folder."""
    own = os.environ.get("TFC_MODELS_CACHE")
    if own:
        return pathlib.Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "tfc-models"


def fetch(address: str) -> pathlib.Path:
    """Returns the path of the file at `https://…#sha256=HEX`, from the cache if possible.

    Raises:
        ValueError: the address is not https or has no SHA-256, or the file has another one.
        OSError: the file cannot be fetched or stored.
    """
    url, mark, sha256 = address.partition(MARK)
    if not url.startswith("https://"):
        raise ValueError(f"weights come from https addresses; got {address}.")
    if not mark or not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"an address of weights ends in {MARK} and 64 hexadecimal digits.")
    sha256 = sha256.lower()
    path = cache_folder() / f"{sha256}.npz"
    if path.exists() and sha256_of(path) == sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, partial.open("wb") as file:
            if int(response.headers.get("Content-Length") or 0) > LARGEST:
                raise ValueError(f"{url} exceeds the size limit of weights.")
            shutil.copyfileobj(response, file)
        actual = sha256_of(partial)
        if actual != sha256:
            raise ValueError(f"{url} has SHA-256 {actual[:12]}…, not {sha256[:12]}…: not used.")
        os.replace(partial, path)
    except urllib.error.URLError as error:
        raise OSError(f"{url} cannot be fetched: {error.reason}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def sha256_of(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha.update(block)
    return sha.hexdigest()


def check_there(source: str | os.PathLike[str], what: str) -> None:
    """Raises FileNotFoundError if a path names no file."""
    if not is_address(os.fspath(source)) and not os.path.isfile(source):
        raise FileNotFoundError(f"there is no file of {what} {os.fspath(source)}.")


def digest_of(source: str | os.PathLike[str]) -> str:
    """Returns what identifies weights: the SHA-256 of a file, or an address, which contains it."""
    path = pathlib.Path(source)
    return sha256_of(path) if path.is_file() else os.fspath(source)


def read_weights(source: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Returns the arrays of an npz or of a file of compressed weights (.tfcw) by name.

    The metadata of compressed weights are the array `__meta__`, a text.

    Args:
        source: a file, or an https address that ends in #sha256=….

    Raises:
        ValueError: not an npz, or not the file with that digest.
        OSError: it cannot be read or fetched.
    """
    name = os.fspath(source)
    path = fetch(name) if is_address(name) else pathlib.Path(name)
    try:
        data = path.read_bytes()
        if data.startswith(COMPRESSED_MAGIC):
            return _compressed_weights(data, path)
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {k: arrays[k] for k in arrays.files}
    except DamagedFileError:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file of weights {path}.") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError):
        raise ValueError(f"{path} is not a file of weights (npz), or is damaged.") from None


def _compressed_weights(data: bytes, path: pathlib.Path) -> dict[str, np.ndarray]:
    from tfc_models import weights  # Decoding needs TensorFlow, which files of arrays do not.

    try:
        content = weights.decode(data)
    except DamagedFileError as error:
        raise DamagedFileError(f"{path}: {error}") from None
    return {"__meta__": np.array(json.dumps(content.metadata)), **content.values()}


def write_weights(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an npz. The write is atomic: readers see the old or the new file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_file(path, buffer.getvalue())


def write_file(path: pathlib.Path, data: bytes) -> None:
    """Writes a file. The write is atomic: readers see the old or the new file."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
