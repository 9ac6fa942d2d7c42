"""Files split into pieces of limited size for transfer. It is copied into exported steps."""

from __future__ import annotations

import os
import pathlib
import re


def write(path: pathlib.Path, content: bytes, limit: int) -> list[pathlib.Path]:
    """Writes PATH.1-of-N, … of at most `limit` bytes each; removes pieces of earlier contents."""
    count = -(-len(content) // limit)
    pieces = [path.with_name(f"{path.name}.{i + 1}-of-{count}") for i in range(count)]
    for old in _pieces_of(path).values():
        if old not in pieces:
            old.unlink()
    for i, piece in enumerate(pieces):
        partial = piece.with_name(f".{piece.name}.part")
        partial.write_bytes(content[i * limit : (i + 1) * limit])
        os.replace(partial, piece)
    return pieces


def read(path: pathlib.Path) -> bytes:
    """Returns the content of a file, or of its pieces if it is split."""
    if path.exists():
        return path.read_bytes()
    pieces = _pieces_of(path)
    if not pieces:
        raise FileNotFoundError(f"there is no {path}, and no {path.name}.1-of-…")
    count = max(total for _, total in pieces)
    missing = [i for i in range(1, count + 1) if (i, count) not in pieces]
    if missing or len(pieces) > count:
        reason = f"{path.name}.{missing[0]}-of-{count} is missing" if missing else "two sets exist"
        raise FileNotFoundError(f"the pieces of {path} do not fit together: {reason}.")
    return b"".join(pieces[i, count].read_bytes() for i in range(1, count + 1))


def _pieces_of(path: pathlib.Path) -> dict[tuple[int, int], pathlib.Path]:
    """Returns the paths of a file's pieces by number and count."""
    pattern = re.compile(re.escape(path.name) + r"\.(\d+)-of-(\d+)")
    matches = ((pattern.fullmatch(p.name), p) for p in path.parent.glob(f"{path.name}.*"))
    return {(int(m[1]), int(m[2])): p for m, p in matches if m}
