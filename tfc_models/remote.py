"""Weights from elsewhere: https addresses with a SHA-256, fetched once and kept."""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
import re
import shutil
import urllib.error
import urllib.request
import zipfile
import zlib

import numpy as np

MARK = "#sha256="
# Environment variables that name weights of metrics; of PIM and PIM-bands, in place of the shipped.
LPIPS_VARIABLE, SEMANTIC_VARIABLE = "TFC_MODELS_LPIPS", "TFC_MODELS_SEMANTIC"
PIM_VARIABLE, PIM_BANDS_VARIABLE = "TFC_MODELS_PIM", "TFC_MODELS_PIM_BANDS"
TIMEOUT = 60.0  # seconds without a byte
LARGEST = 2**30  # bytes


def is_address(name: str) -> bool:
    """Whether a model's name is an address."""
    return "://" in name


def cache_folder() -> pathlib.Path:
    """Where fetched weights are kept: TFC_MODELS_CACHE, or the user's cache folder."""
    own = os.environ.get("TFC_MODELS_CACHE")
    if own:
        return pathlib.Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "tfc-models"


def fetch(address: str) -> pathlib.Path:
    """The file at `https://…#sha256=HEX`, from the cache if it is there.

    Raises:
        ValueError: not https, no SHA-256, or the file is not the one that it says.
        OSError: it cannot be had, or not be kept.
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
                raise ValueError(f"{url} is larger than weights are.")
            shutil.copyfileobj(response, file)
        found = sha256_of(partial)
        if found != sha256:
            raise ValueError(f"{url} has SHA-256 {found[:12]}…, not {sha256[:12]}…: not used.")
        os.replace(partial, path)
    except urllib.error.URLError as error:
        raise OSError(f"{url} cannot be fetched: {error.reason}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def sha256_of(path: pathlib.Path) -> str:
    """Hexadecimal, of a file."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha.update(block)
    return sha.hexdigest()


def check_there(source: str | os.PathLike[str], what: str) -> None:
    """Refuses a path where there is no file, before what is in it is needed."""
    if not is_address(os.fspath(source)) and not os.path.isfile(source):
        raise FileNotFoundError(f"there is no file of {what} {os.fspath(source)}.")


def digest_of(source: str | os.PathLike[str]) -> str:
    """What tells weights from others: of a file its SHA-256, of an address itself, which has it."""
    path = pathlib.Path(source)
    return sha256_of(path) if path.is_file() else os.fspath(source)


def read_weights(source: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Arrays of an npz by name: a file, or an https address that ends in #sha256=….

    Raises:
        ValueError: not an npz, or not the one that the digest says.
        OSError: it cannot be read or fetched.
    """
    name = os.fspath(source)
    path = fetch(name) if is_address(name) else pathlib.Path(name)
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return {k: arrays[k] for k in arrays.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file of weights {path}.") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError):
        raise ValueError(f"{path} is no file of weights (npz), or is damaged.") from None


def write_weights(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an npz, atomically: whoever reads sees the old file or the new one."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(buffer.getvalue())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
