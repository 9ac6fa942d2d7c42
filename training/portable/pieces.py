"""A file in pieces of a limited size, for transfer. Needs nothing: travels with a step."""

from __future__ import annotations

import os
import pathlib
import re


def write(path: pathlib.Path, content: bytes, limit: int) -> list[pathlib.Path]:
    """Writes PATH.1-of-N, … of at most `limit` bytes each; removes those of an earlier content."""
    count = -(-len(content) // limit)
    pieces = [path.with_name(f"{path.name}.{i + 1}-of-{count}") for i in range(count)]
    for old in _found(path).values():
        if old not in pieces:
            old.unlink()
    for i, piece in enumerate(pieces):
        partial = piece.with_name(f".{piece.name}.part")
        partial.write_bytes(content[i * limit : (i + 1) * limit])
        os.replace(partial, piece)
    return pieces


def read(path: pathlib.Path) -> bytes:
    """Returns the content of a file, or of its pieces where it is in pieces."""
    if path.exists():
        return path.read_bytes()
    pieces = _found(path)
    if not pieces:
        raise FileNotFoundError(f"there is no {path}, and no {path.name}.1-of-…")
    count = max(total for _, total in pieces)
    missing = [i for i in range(1, count + 1) if (i, count) not in pieces]
    if missing or len(pieces) > count:
        wrong = f"{path.name}.{missing[0]}-of-{count} is missing" if missing else "two sets of them"
        raise FileNotFoundError(f"the pieces of {path} do not fit together: {wrong}.")
    return b"".join(pieces[i, count].read_bytes() for i in range(1, count + 1))


def _found(path: pathlib.Path) -> dict[tuple[int, int], pathlib.Path]:
    """Returns the pieces of a file by number and count."""
    pattern = re.compile(re.escape(path.name) + r"\.(\d+)-of-(\d+)")
    matches = ((pattern.fullmatch(p.name), p) for p in path.parent.glob(f"{path.name}.*"))
    return {(int(m[1]), int(m[2])): p for m, p in matches if m}
