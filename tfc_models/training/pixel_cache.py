"""Decoded images on disk, so that training decodes every file once.

An entry is the raw pixels of one file (.npy, memory-mapped when it is read). Its name is a digest
of the file's path, size and time of modification, so a file that changed gets a new entry.
Entries are written under a temporary name and then renamed; any number of runs may share the
folder. It can be removed at any time: running programs decode again.

The folder holds at most the given number of bytes. When it is full, entries that no run has used
for an hour make room. What still does not fit is decoded anew each time, as is everything when
the disk is full or the folder cannot be written to.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable

import numpy as np
from absl import logging

from tfc_models import remote

DISK_RESERVE = 2 * 2**30  # bytes of the disk that are left to checkpoints and other programs
IN_USE_SECONDS = 3600.0  # An entry used in this time stays: another run may need it.
SCAN_INTERVAL = 64  # stored images between two looks at what other runs stored
VERSION = 1  # of the pixels that a file decodes to


class PixelCache:
    """Keeps decoded images in a folder.

    Args:
        folder: made when the first image is stored.
        limit: bytes that the folder may hold.
    """

    def __init__(self, folder: pathlib.Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._lock = threading.Lock()
        self._bytes = self._stored = 0
        self._stopped = False

    @classmethod
    def of_user(cls, gigabytes: float) -> PixelCache:
        """Returns the cache in the user's cache folder (TFC_MODELS_CACHE names another)."""
        return cls(remote.cache_folder() / "pixels", int(gigabytes * 2**30))

    def read(self, path: pathlib.Path, decode: Callable[[pathlib.Path], np.ndarray]) -> np.ndarray:
        """Returns the pixels of a file, from the cache or else by `decode`."""
        entry = self._entry_of(path)
        pixels = _mapped(entry)
        if pixels is None:
            pixels = decode(path)
            self._store(entry, pixels)
        return pixels

    def _entry_of(self, path: pathlib.Path) -> pathlib.Path:
        facts = path.stat()
        text = f"{VERSION}\0{path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}"
        name = hashlib.sha256(os.fsencode(text)).hexdigest()[:32]
        return self.folder / f"{name}.npy"

    def _store(self, entry: pathlib.Path, pixels: np.ndarray) -> None:
        """Writes an entry, unless there is no room."""
        try:
            with self._lock:
                if self._stopped or not self._has_room(pixels.nbytes):
                    return
                self._bytes += pixels.nbytes
            _write(entry, pixels)
        except OSError as error:
            self._stop(f"cannot be written to ({error.strerror or error})")

    def _has_room(self, size: int) -> bool:
        """Whether an image may be stored; removes unused entries where that helps."""
        if self._stored % SCAN_INTERVAL == 0:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_remnants(self.folder)
            self._bytes = sum(facts.st_size for facts, _ in _entries(self.folder))
        self._stored += 1
        if self._bytes + size > self.limit:
            self._bytes = _shrink(self.folder, self.limit - size)
        if self._bytes + size > self.limit:
            self._stop(f"holds its limit of {self.limit / 2**30:.3g} GiB (cache_gigabytes)")
            return False
        if shutil.disk_usage(self.folder).free < size + DISK_RESERVE:
            self._stop(f"leaves the last {DISK_RESERVE / 2**30:.3g} GiB of its disk free")
            return False
        return True

    def _stop(self, why: str) -> None:
        if not self._stopped:
            logging.warning(
                "the cache of decoded images %s %s: further images are decoded for each use.",
                *(self.folder, why),
            )
        self._stopped = True


def _mapped(entry: pathlib.Path) -> np.ndarray | None:
    """Returns the pixels of an entry, or None if there is none; removes a damaged one."""
    try:
        pixels = np.load(entry, mmap_mode="r", allow_pickle=False)
        if pixels.dtype != np.uint8 or pixels.ndim != 3:
            raise ValueError("no pixels")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError):
        with contextlib.suppress(OSError):
            entry.unlink()
        return None
    with contextlib.suppress(OSError):
        os.utime(entry)
    return pixels


def _write(entry: pathlib.Path, pixels: np.ndarray) -> None:
    """Writes an entry under a temporary name and renames it."""
    number, name = tempfile.mkstemp(suffix=".part", dir=entry.parent)
    try:
        with os.fdopen(number, "wb") as file:
            np.save(file, pixels)
            file.flush()
            os.fsync(file.fileno())  # After a power failure, no entry has a hole in it.
        os.replace(name, entry)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _entries(
    folder: pathlib.Path, suffix: str = ".npy"
) -> list[tuple[os.stat_result, pathlib.Path]]:
    """Returns the entries of the folder that no other run has removed meanwhile."""
    found = []
    for path in folder.glob(f"*{suffix}"):
        with contextlib.suppress(FileNotFoundError):
            found.append((path.stat(), path))
    return found


def _remove_remnants(folder: pathlib.Path) -> None:
    """Removes what killed runs left half written."""
    for facts, path in _entries(folder, ".part"):
        if facts.st_mtime < time.time() - IN_USE_SECONDS:
            path.unlink(missing_ok=True)


def _shrink(folder: pathlib.Path, limit: int) -> int:
    """Removes entries that are not in use, oldest first, down to a limit; returns the bytes."""
    entries = sorted(_entries(folder), key=lambda entry: entry[0].st_mtime)
    size = sum(facts.st_size for facts, _ in entries)
    for facts, path in entries:
        if size <= limit or facts.st_mtime > time.time() - IN_USE_SECONDS:
            break
        path.unlink(missing_ok=True)
        size -= facts.st_size
    return size
