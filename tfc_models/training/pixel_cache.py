"""Disk cache of decoded images, so that training decodes every file once.

An entry is the raw pixels of one file (.npy, memory-mapped when it is read). Its name is a digest
of the file's path, size and time of modification, so that a changed file gets a new entry.
Entries are written under a temporary name and then renamed. Any number of runs may share the
folder. It can be removed at any time: running programs then decode again.

The folder holds at most the given number of bytes. When it is full, entries that no run has used
for an hour are removed. Images that still do not fit are decoded for each use, as are all images
when the disk is full or the folder is not writable.
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

DISK_RESERVE = 2 * 2**30  # bytes of the disk that are left free for checkpoints and other programs
IN_USE_SECONDS = 3600.0  # Entries used in this time are kept: another run may need them.
SCAN_INTERVAL = 64  # stored images between two scans of the folder for entries of other runs
VERSION = 1  # of decoding; part of an entry's name


class PixelCache:
    """Cache of decoded images in a folder.

    Args:
        folder: created when the first image is stored.
        limit: maximum size of the folder in bytes.
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
        """Returns the pixels of a file from the cache, or from `decode` if they are not cached."""
        entry = self._entry_of(path)
        pixels = _mapped(entry)
        if pixels is None:
            pixels = decode(path)
            self._store(entry, pixels)
        return pixels

    def _entry_of(self, path: pathlib.Path) -> pathlib.Path:
        status = path.stat()
        text = f"{VERSION}\0{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
        name = hashlib.sha256(os.fsencode(text)).hexdigest()[:32]
        return self.folder / f"{name}.npy"

    def _store(self, entry: pathlib.Path, pixels: np.ndarray) -> None:
        """Writes an entry if there is room."""
        try:
            with self._lock:
                if self._stopped or not self._has_room(pixels.nbytes):
                    return
                self._bytes += pixels.nbytes
            _write(entry, pixels)
        except OSError as error:
            self._stop(f"is not writable ({error.strerror or error})")

    def _has_room(self, size: int) -> bool:
        """Returns whether an image may be stored; removes unused entries if that is needed."""
        if self._stored % SCAN_INTERVAL == 0:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_partial_files(self.folder)
            self._bytes = sum(status.st_size for status, _ in _entries(self.folder))
        self._stored += 1
        if self._bytes + size > self.limit:
            self._bytes = _shrink(self.folder, self.limit - size)
        if self._bytes + size > self.limit:
            self._stop(f"has reached its limit of {self.limit / 2**30:.3g} GiB (cache_gigabytes)")
            return False
        if shutil.disk_usage(self.folder).free < size + DISK_RESERVE:
            self._stop(f"keeps the last {DISK_RESERVE / 2**30:.3g} GiB of its disk free")
            return False
        return True

    def _stop(self, reason: str) -> None:
        """Stops storing images, and logs the reason once."""
        if not self._stopped:
            logging.warning(
                "the cache of decoded images %s %s: further images are decoded for each use.",
                *(self.folder, reason),
            )
        self._stopped = True


def _mapped(entry: pathlib.Path) -> np.ndarray | None:
    """Returns the pixels of an entry, or None if there is none; removes a damaged one."""
    try:
        pixels = np.load(entry, mmap_mode="r", allow_pickle=False)
        if pixels.dtype != np.uint8 or pixels.ndim != 3:
            raise ValueError("not an array of pixels")
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
            os.fsync(file.fileno())  # Otherwise a power failure could leave zeros in an entry.
        os.replace(name, entry)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _entries(
    folder: pathlib.Path, suffix: str = ".npy"
) -> list[tuple[os.stat_result, pathlib.Path]]:
    """Returns the status and path of each entry; another run may remove entries meanwhile."""
    entries = []
    for path in folder.glob(f"*{suffix}"):
        with contextlib.suppress(FileNotFoundError):
            entries.append((path.stat(), path))
    return entries


def _remove_partial_files(folder: pathlib.Path) -> None:
    """Removes partially written files of killed runs."""
    for status, path in _entries(folder, ".part"):
        if status.st_mtime < time.time() - IN_USE_SECONDS:
            path.unlink(missing_ok=True)


def _shrink(folder: pathlib.Path, limit: int) -> int:
    """Removes unused entries, oldest first, down to a size in bytes; returns the new size."""
    entries = sorted(_entries(folder), key=lambda entry: entry[0].st_mtime)
    size = sum(status.st_size for status, _ in entries)
    for status, path in entries:
        if size <= limit or status.st_mtime > time.time() - IN_USE_SECONDS:
            break
        path.unlink(missing_ok=True)
        size -= status.st_size
    return size
