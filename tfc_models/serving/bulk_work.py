"""The work of `serving.bulk` on one file, independent of the runner."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import pathlib
import posixpath
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils import shared

import tfc_models
from tfc_models import evaluation, images, zoo
from tfc_models.codec import BitstreamError
from tfc_models.codec.codec import Codec, checked_realism
from tfc_models.codec.container import SUFFIX
from tfc_models.codec.tunable import tuned_metrics, weights_digests
from tfc_models.codec.tuning import tuning_of
from tfc_models.file_names import UNREADABLE, is_compressed, renamed
from tfc_models.models.distortion import prepare

COMMANDS = ("compress", "decompress", "evaluate")
COUNTED = ("bytes_in", "bytes_out", "pixels")
RECORDS = "_records"
# Whatever one file brings about is that file's failure; the others go on.
ANY_FILE = (Exception,)
_FILES = CompressionTypes.UNCOMPRESSED
_WILD = re.compile(r"[*?\[]")
_codecs = shared.Shared()  # One codec in a process, however many threads it has.


@dataclasses.dataclass(frozen=True)
class Job:
    """A command with its settings; it travels to the workers."""

    command: str
    base: str
    output: str
    model: str
    quality: int | None
    max_pixels: int
    realism: float | None = None
    background: images.Color | None = None
    effort: int = 0
    tune: str | None = None
    clashes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def load(self) -> Codec:
        """The codec, loaded once in a process."""
        return _codecs.acquire(lambda: tfc_models.load(self.model), tag=self.model)

    def check(self) -> None:
        """Before anything is done: one line about settings that no file can have."""
        if self.command == "decompress" and self.quality is not None:
            raise ValueError("--quality is for compress and evaluate: a file knows its own.")
        if self.command == "decompress" and self.background is not None:
            raise ValueError("--background is for compress and evaluate.")
        if self.command != "decompress" and self.realism is not None:
            raise ValueError("--realism is for decompress: files are the same, whatever it is.")
        if self.command == "decompress" and (self.effort or self.tune is not None):
            raise ValueError("--effort and --tune are for compress and evaluate.")
        if self.tune is not None and not self.effort:
            raise ValueError("--tune needs --effort 1 to 9: a single pass has nothing to tune.")
        tuned_metrics(self.tune)
        codec = self.load()
        codec.rate_setting(self.quality)
        if self.effort:
            prepare(tuning_of(self.tune, codec.model).weights)  # Or one line about weights.
        if checked_realism(self.realism or 0.0):
            codec.realism_decoder()  # Or one line about why there is none.

    def finished(self, path: str) -> dict[str, Any] | None:
        """The record of a file that was done before with these settings, and still is."""
        try:
            with FileSystems.open(self._record_of(path), compression_type=_FILES) as file:
                record = json.loads(file.read())
        except (BeamIOError, OSError, ValueError):
            return None
        same = record.pop("settings", None) == self._settings(path)
        target = self._target_of(path)
        return record if same and (not target or _size(target) == record["bytes_out"]) else None

    def do(self, path: str) -> dict[str, Any]:
        """Does a file; returns its record. What is written is whole or not there."""
        if other := self.clashes.get(path):
            raise ValueError(f"{other} would be written to {self._target_of(path)} as well.")
        if images.has_unreadable_suffix(path):
            raise ValueError(UNREADABLE)
        with FileSystems.open(path, compression_type=_FILES) as file:
            data = file.read()
        settings = self._settings(path)
        start = time.perf_counter()
        try:
            output, record = getattr(self, f"_{self.command}")(data)
        except images.ImageTooLargeError as error:
            flag = " --max_pixels raises it." if error.limit == "max_pixels" else ""
            raise ValueError(f"{error}{flag}") from None
        except images.TransparencyError as error:
            raise ValueError(f"{error} For example --background white.") from None
        record["seconds"] = round(time.perf_counter() - start, 4)
        record = {"file": path, "bytes_in": len(data), **record}
        if target := self._target_of(path):
            _write(target, output)
        _write(self._record_of(path), json.dumps({**record, "settings": settings}).encode())
        return record

    def _compress(self, data: bytes) -> tuple[bytes, dict[str, Any]]:
        return self._compressed(self._pixels(data))

    def _compressed(self, picture: np.ndarray) -> tuple[bytes, dict[str, Any]]:
        search = {"effort": self.effort, "tune": self.tune} if self.effort else {}
        output = self.load().compress(picture, self.quality, **search)
        pixels = picture.shape[0] * picture.shape[1]
        bpp = 8.0 * len(output) / pixels
        record = {"bytes_out": len(output), "pixels": pixels, "bpp": round(bpp, 5)}
        return output, {**record, **{k: v for k, v in search.items() if v is not None}}

    def _decompress(self, data: bytes) -> tuple[bytes, dict[str, Any]]:
        decode, realism = self.load().decompress, self.realism or 0.0
        picture = decode(data, max_pixels=self.max_pixels, realism=realism)
        output = images.encode(picture, ".png")
        pixels = picture.shape[0] * picture.shape[1]
        return output, {"bytes_out": len(output), "pixels": pixels}

    def _evaluate(self, data: bytes) -> tuple[bytes, dict[str, Any]]:
        picture = self._pixels(data)
        output, record = self._compressed(picture)
        decoded = self.load().decompress(output, 2**62, 2**62)
        figures = evaluation.measure(picture, evaluation.Coded(output, decoded, 0.0, 0.0))
        record["psnr"] = round(figures.psnr, 4)
        record["ms_ssim"] = None if figures.ms_ssim is None else round(figures.ms_ssim, 6)
        return output, record

    def _pixels(self, data: bytes) -> np.ndarray:
        return images.read(data, self.background, max_pixels=self.max_pixels).coded

    def _settings(self, path: str) -> list[Any]:
        """Values that a result depends on: when one differs, the file is done again."""
        found = [self.command, self.load().digest, self.quality, self.max_pixels, _size(path)]
        if self.background is not None:
            found += ["background", *self.background]
        if self.effort:
            found += ["effort", self.effort, self.tune, *weights_digests(self.tune)]
        if not self.realism:
            return found
        entry = zoo.entry_of(self.model)
        return [*found, self.realism, entry.realism_sha256 if entry else ""]

    def _relative(self, path: str) -> str:
        return posixpath.relpath(path, self.base)

    def _record_of(self, path: str) -> str:
        return f"{self.output}/{RECORDS}/{self.command}/{self._relative(path)}.json"

    def _target_of(self, path: str) -> str | None:
        """Where the result goes: the names are those of `tfc-models`."""
        name = pathlib.PurePosixPath(self._relative(path))
        if self.command == "compress":
            return f"{self.output}/{renamed(name, SUFFIX, images.has_image_suffix)}"
        if self.command == "decompress":
            return f"{self.output}/{renamed(name, '.png', is_compressed)}"
        return None

    def without_clashes(self, paths: Sequence[str]) -> Job:
        """Adds the files that share an output, which all fail, to the job."""
        by_target: dict[str | None, list[str]] = {}
        for path in paths:
            by_target.setdefault(self._target_of(path), []).append(path)
        by_target.pop(None, None)
        clashes = {}
        for same in (paths for paths in by_target.values() if len(paths) > 1):
            clashes.update({path: same[1] if path == same[0] else same[0] for path in same})
        return dataclasses.replace(self, clashes=clashes)


def found(pattern: str, command: str) -> list[str]:
    """The files of a pattern, or in a folder those that the command is for; sorted."""
    if _WILD.search(pattern):
        paths = _matches(pattern)
    elif nested := _matches(f"{pattern.rstrip('/')}/**"):
        # Pictures that cannot be read are listed as failed, and not left out.
        readable = (*images.INPUT_SUFFIXES, *images.UNREADABLE_SUFFIXES)
        suffixes = (SUFFIX,) if command == "decompress" else readable
        paths = [path for path in nested if path.lower().endswith(suffixes)]
    else:
        paths = _matches(pattern)
    return sorted(p for p in paths if f"/{RECORDS}/" not in p and not p.endswith(".part"))


def with_utf8_names(paths: Sequence[str]) -> tuple[list[str], list[dict[str, str]]]:
    """The paths that are UTF-8, as tables and workers get them, and failures of the others."""
    named, failed = [], []
    for path in paths:
        try:
            path.encode("utf-8")
            named.append(path)
        except UnicodeEncodeError:
            shown = path.encode("utf-8", "backslashreplace").decode("utf-8")
            failed.append({"file": shown, "reason": "its name is not UTF-8: rename it."})
    return named, failed


def base_of(pattern: str) -> str:
    """The folder that names are relative to: what comes before the first sign of a pattern."""
    wild = _WILD.search(pattern)
    if wild:
        return posixpath.dirname(pattern[: wild.start()]) or "."
    return (
        pattern.rstrip("/")
        if _matches(f"{pattern.rstrip('/')}/**")
        else (posixpath.dirname(pattern) or ".")
    )


def _matches(pattern: str) -> list[str]:
    return [f.path for match in FileSystems.match([pattern]) for f in match.metadata_list]


def _size(path: str) -> int:
    try:
        return FileSystems.get_filesystem(path).size(path)
    except (BeamIOError, OSError):
        return -1


def _write(path: str, data: bytes) -> None:
    """The whole file or none of it."""
    part = f"{path}.part"
    with FileSystems.create(part, compression_type=_FILES) as file:
        file.write(data)
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder.")
    if _size(path) >= 0:
        FileSystems.delete([path])
    FileSystems.rename([part], [path])


def write_table(path: str, rows: list[dict[str, Any]]) -> None:
    """A CSV file of records, by file."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(sorted(rows, key=lambda row: row["file"]))
    _write(path, text.getvalue().encode("utf-8") if rows else b"")


def one_line(error: BaseException) -> str:
    """Describes an error in one line, without a traceback."""
    lines = str(error).strip().splitlines() or [""]
    ours = isinstance(error, (ValueError, OSError, BitstreamError)) and lines[0]
    return lines[0] if ours else f"{type(error).__name__}: {lines[0]}"
