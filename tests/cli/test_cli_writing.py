"""Atomic writing of output files."""

from __future__ import annotations

import os
import pathlib

import pytest

from tfc_models.cli import output_files
from tfc_models.cli.errors import CommandError


@pytest.fixture(params=["unnamed", "named"])
def folder(request, tmp_path, monkeypatch):
    """Folder on a system with files without names, and on one without."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return tmp_path


def umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_new_file_has_default_permissions(folder):
    output_files.write_file(folder / "file", b"one")
    assert (folder / "file").read_bytes() == b"one"
    assert (folder / "file").stat().st_mode & 0o777 == 0o666 & ~umask()
    assert names(folder) == ["file"]


def test_file_created_meanwhile_is_kept(folder):
    (folder / "file").write_bytes(b"other")
    with pytest.raises(CommandError, match="--force"):
        output_files.write_file(folder / "file", b"ours")
    assert (folder / "file").read_bytes() == b"other"
    assert names(folder) == ["file"]


def test_replaced_file_keeps_permissions_and_links(folder):
    path, link = folder / "file", folder / "link"
    path.write_bytes(b"old")
    path.chmod(0o600)
    link.symlink_to(path)
    output_files.write_file(link, b"new", force=True)
    assert link.is_symlink() and path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(folder) == ["file", "link"]


def test_file_system_without_hard_links(folder, monkeypatch):
    def link(*unused, **also_unused):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", link)
    output_files.write_file(folder / "file", b"one")
    with pytest.raises(CommandError, match="--force"):
        output_files.write_file(folder / "file", b"two")
    output_files.write_file(folder / "file", b"three", force=True)
    assert (folder / "file").read_bytes() == b"three"
    assert names(folder) == ["file"]


def test_long_names_and_devices(folder):
    name = "n" * 250
    output_files.write_file(folder / name, b"one")
    output_files.write_file(folder / name, b"two", force=True)
    assert names(folder) == [name]
    output_files.write_file(pathlib.Path(os.devnull), b"nothing")
    assert not os.path.isfile(os.devnull)


def test_parent_that_is_not_a_folder(folder):
    (folder / "file").write_bytes(b"")
    with pytest.raises(CommandError, match="cannot create the folder"):
        output_files.make_folder(folder / "file" / "below")
    with pytest.raises(CommandError, match="cannot write"):
        output_files.write_file(folder / "missing" / "file", b"")
