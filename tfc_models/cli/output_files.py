"""Atomic writing of output files and folders.

A killed process must not leave a partial file. On most Linux file systems a file is written
without a name and linked when it is complete, so that even SIGKILL or a power failure leaves
nothing behind. Elsewhere it is written under a temporary name in the same folder and renamed.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import pathlib
import secrets
import shutil
import stat
import sys
import threading
from collections.abc import Iterator

from tfc_models.cli.errors import CommandError, UsageError, one_line

STANDARD_STREAM = "-"
WRITE_LOCK = threading.Lock()
"""Held while a partial file or folder exists, so that the process does not exit meanwhile."""
# Errors of file systems and kernels that do not support O_TMPFILE.
_NO_UNNAMED_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


def check_new(path: pathlib.Path, force: bool) -> None:
    """Checks that a file does not exist or may be overwritten, before work is spent on it."""
    if path.is_dir():
        raise CommandError(f"{path} is a folder.")
    # Writing to a device or a pipe overwrites nothing.
    if not force and path.is_file():
        raise CommandError(f"{path} exists; --force overwrites it.")


def check_writable(path: pathlib.Path) -> None:
    """Checks that a file can be written, before work is spent on it."""
    if path.exists() and not path.is_file():
        return  # Devices and pipes need no writable folder.
    path = pathlib.Path(os.path.realpath(path))  # Replaces a link's target, not the link.
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir():
        raise CommandError(f"cannot write {path}: {folder} is a file, not a folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(f"cannot write to the folder {folder}: permission denied.")


def png_target(options: argparse.Namespace, suffix: str, what: str) -> pathlib.Path:
    """Returns the path of a command's PNG output, and checks that it can be written.

    Args:
        options: options of the command.
        suffix: suffix of the default path, which is next to the input image.
        what: the output, for messages.
    """
    source = pathlib.Path(options.picture)
    target = pathlib.Path(options.output or source.with_name(source.stem + suffix))
    if target.suffix.lower() != ".png":
        raise UsageError(f"{what} must be a PNG file; {target} does not end in .png.")
    check_new(target, options.force)
    if not target.parent.is_dir():
        raise CommandError(f"there is no folder {target.parent} to write to.")
    check_writable(target)
    return target


def make_folder(path: pathlib.Path) -> None:
    """Creates a folder and its parents, unless they exist."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot create the folder {path}: {one_line(error)}") from error


def write_file(path: pathlib.Path, data: bytes, force: bool = False) -> None:
    """Writes a file atomically. Fails if the file exists, unless `force` is set."""
    path = pathlib.Path(os.path.realpath(path))  # Replaces a link's target, not the link.
    try:
        if path.exists() and not path.is_file():
            check_new(path, force)
            with open(path, "wb") as device:
                device.write(data)
            return
        with WRITE_LOCK:
            if not _write_unnamed(path, data, force):
                _write_renamed(path, data, force)
    except FileExistsError:
        # It was created after `check_new`.
        raise CommandError(f"{path} exists; --force overwrites it.") from None
    except OSError as error:
        raise CommandError(f"cannot write {path}: {one_line(error)}") from error


def write_stdout(data: bytes) -> None:
    """Writes binary data to standard output."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@contextlib.contextmanager
def replacing_folder(path: pathlib.Path, force: bool = False) -> Iterator[pathlib.Path]:
    """Creates a temporary folder that is renamed to `path` when the block ends without error."""
    path = pathlib.Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = _beside(path), _beside(path)
    with WRITE_LOCK:
        try:
            partial.mkdir()
            yield partial
            if force and path.exists():
                path.rename(old)
            # The rename replaces an empty folder, and fails for any other.
            partial.rename(path)
        except BaseException:
            if old.exists() and not path.exists():
                old.rename(path)
            raise
        finally:
            for leftover in (partial, old):
                shutil.rmtree(leftover, ignore_errors=True)


def _beside(path: pathlib.Path) -> pathlib.Path:
    # The name is cut to stay within the file system's limit.
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")


def _write_all(fd: int, data: bytes, like: pathlib.Path) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
    with contextlib.suppress(OSError):
        os.fchmod(fd, stat.S_IMODE(like.stat().st_mode))
    os.fsync(fd)


def _write_unnamed(path: pathlib.Path, data: bytes, force: bool) -> bool:
    """Writes through a file without a name. Returns False if the file system has none."""
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        fd = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except OSError as error:
        if error.errno in _NO_UNNAMED_FILES and path.parent.is_dir():
            return False
        raise
    try:
        _write_all(fd, data, path)
        if not force:
            return _give_name(fd, path)
        partial = _beside(path)
        try:
            if not _give_name(fd, partial):
                return False
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        return True
    finally:
        os.close(fd)


def _give_name(fd: int, path: pathlib.Path) -> bool:
    """Links a file without a name to a path. Returns False if the system does not allow it."""
    try:
        # With a folder's descriptor, though the path is absolute, Python calls linkat, which
        # follows the link in /proc; link(2) does not.
        os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES):
            raise
        return False
    return True


def _write_renamed(path: pathlib.Path, data: bytes, force: bool) -> None:
    partial = _beside(path)
    fd = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        try:
            _write_all(fd, data, path)
        finally:
            os.close(fd)
        if not force:
            try:
                os.link(partial, path)  # Unlike a rename, it fails if the file exists.
                return
            except FileExistsError:
                raise
            except OSError:  # A file system without hard links.
                if path.exists():
                    raise FileExistsError(errno.EEXIST, "exists") from None
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
