"""Files appear as a whole, or not at all; and none is lost by it."""

from __future__ import annotations

import os
import pathlib

import pytest

from tfc_models.cli import writing
from tfc_models.cli.errors import CommandError


@pytest.fixture(params=["unnamed", "named"])
def folder(request, tmp_path, monkeypatch):
    """A folder, once on a system that has files without names, and once on one that has not."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return tmp_path


def umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_has_the_usual_mode(folder):
    writing.write_file(folder / "file", b"one")
    assert (folder / "file").read_bytes() == b"one"
    assert (folder / "file").stat().st_mode & 0o777 == 0o666 & ~umask()
    assert names(folder) == ["file"]


def test_a_file_that_appeared_meanwhile_stays(folder):
    (folder / "file").write_bytes(b"other")
    with pytest.raises(CommandError, match="--force"):
        writing.write_file(folder / "file", b"ours")
    assert (folder / "file").read_bytes() == b"other"
    assert names(folder) == ["file"]


def test_a_replaced_file_keeps_its_mode_and_its_links(folder):
    path, link = folder / "file", folder / "link"
    path.write_bytes(b"old")
    path.chmod(0o600)
    link.symlink_to(path)
    writing.write_file(link, b"new", force=True)
    assert link.is_symlink() and path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(folder) == ["file", "link"]


def test_without_hard_links(folder, monkeypatch):
    def link(*unused, **also_unused):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", link)
    writing.write_file(folder / "file", b"one")
    with pytest.raises(CommandError, match="--force"):
        writing.write_file(folder / "file", b"two")
    writing.write_file(folder / "file", b"three", force=True)
    assert (folder / "file").read_bytes() == b"three"
    assert names(folder) == ["file"]


def test_long_names_and_devices(folder):
    name = "n" * 250
    writing.write_file(folder / name, b"one")
    writing.write_file(folder / name, b"two", force=True)
    assert names(folder) == [name]
    writing.write_file(pathlib.Path(os.devnull), b"nothing")
    assert not os.path.isfile(os.devnull)


def test_a_folder_that_is_no_folder(folder):
    (folder / "file").write_bytes(b"")
    with pytest.raises(CommandError, match="cannot make the folder"):
        writing.make_folder(folder / "file" / "below")
    with pytest.raises(CommandError, match="cannot write"):
        writing.write_file(folder / "missing" / "file", b"")
