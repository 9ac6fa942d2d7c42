"""Processing of one file by the Beam pipeline, independent of the runner."""

from __future__ import annotations

import csv
import dataclasses
import glob
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
from tfc_models.codec.codec import Codec
from tfc_models.codec.container import SUFFIX
from tfc_models.codec.decoders import checked_realism
from tfc_models.codec.tunable import tuned_metrics, weights_digests
from tfc_models.codec.tuning import tuning_of
from tfc_models.decoder_choice import check_choice
from tfc_models.file_names import UNREADABLE, is_compressed, renamed
from tfc_models.models.distortion import prepare

COMMANDS = ("compress", "decompress", "evaluate", "measure")
COUNTERS = ("bytes_in", "bytes_out", "pixels")
RECORDS = "_records"
# Any error while processing a file is a failure of that file; the others are processed.
FILE_ERRORS = (Exception,)
_FILES = CompressionTypes.UNCOMPRESSED
_WILD = re.compile(r"[*?\[]")
_codecs = shared.Shared()  # One codec per process, shared by its threads.


@dataclasses.dataclass(frozen=True)
class Job:
    """Command and settings, which are pickled and sent to Beam's workers.

    `base` is the folder that output paths are relative to. `clashes` gives for a file another one
    with the same output path.
    """

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
    decoder: str = "full"
    clashes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def load(self) -> Codec:
        """Returns the codec, loaded once per process."""
        return _codecs.acquire(lambda: tfc_models.load(self.model), tag=self.model)

    def prepare(self) -> None:
        """Loads what every file needs."""
        self.load()

    def check(self) -> None:
        """Raises ValueError for invalid settings, before any file is processed."""
        if self.command == "decompress" and self.quality is not None:
            raise ValueError("--quality is for compress and evaluate.")
        if self.command == "decompress" and self.background is not None:
            raise ValueError("--background is for compress and evaluate.")
        if self.command != "decompress" and self.realism is not None:
            raise ValueError("--realism is for decompress: it does not change compressed files.")
        if self.command != "decompress" and self.decoder != "full":
            raise ValueError("--decoder is for decompress: it does not change compressed files.")
        check_choice(self.decoder, self.realism or 0.0)
        if self.command == "decompress" and (self.effort or self.tune is not None):
            raise ValueError("--effort and --tune are for compress and evaluate.")
        if self.tune is not None and not self.effort:
            raise ValueError("--tune has an effect with --effort 1 to 9 only.")
        tuned_metrics(self.tune)
        codec = self.load()
        codec.rate_setting(self.quality)
        if self.effort:
            prepare(tuning_of(self.tune, codec.model).weights)  # Fails if weights are missing.
        if checked_realism(self.realism or 0.0):
            codec.realism_decoder()  # Fails if the model has none.
        if self.decoder == "fast":
            codec.fast_decoder()

    def finished(self, path: str) -> dict[str, Any] | None:
        """Returns the record of a file that was processed with these settings; None if not."""
        try:
            with FileSystems.open(self._record_of(path), compression_type=_FILES) as file:
                record = json.loads(file.read())
        except (BeamIOError, OSError, ValueError):
            return None
        same = record.pop("settings", None) == self._settings(path)
        target = self._target_of(path)
        return record if same and (not target or file_size(target) == record["bytes_out"]) else None

    def do(self, path: str) -> dict[str, Any]:
        """Processes a file, writes its output atomically, and returns its record."""
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
            flag = " Increase the limit with --max_pixels." if error.limit == "max_pixels" else ""
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

    def _compressed(self, image: np.ndarray) -> tuple[bytes, dict[str, Any]]:
        search: dict[str, Any] = {"effort": self.effort, "tune": self.tune} if self.effort else {}
        output = self.load().compress(image, self.quality, **search)
        pixels = image.shape[0] * image.shape[1]
        bpp = 8.0 * len(output) / pixels
        record = {"bytes_out": len(output), "pixels": pixels, "bpp": round(bpp, 5)}
        return output, {**record, **{k: v for k, v in search.items() if v is not None}}

    def _decompress(self, data: bytes) -> tuple[bytes, dict[str, Any]]:
        limit, realism = self.max_pixels, self.realism or 0.0
        decode = self.load().decompress
        image = decode(data, max_pixels=limit, realism=realism, decoder=self.decoder)
        output = images.encode(image, ".png")
        pixels = image.shape[0] * image.shape[1]
        return output, {"bytes_out": len(output), "pixels": pixels}

    def _evaluate(self, data: bytes) -> tuple[bytes, dict[str, Any]]:
        image = self._pixels(data)
        output, record = self._compressed(image)
        decoded = self.load().decompress(output, 2**62, 2**62)
        figures = evaluation.measure(image, evaluation.Coded(output, decoded, 0.0, 0.0))
        record["psnr"] = round(figures.psnr, 4)
        record["ms_ssim"] = None if figures.ms_ssim is None else round(figures.ms_ssim, 6)
        return output, record

    def _pixels(self, data: bytes) -> np.ndarray:
        return images.read(data, self.background, max_pixels=self.max_pixels).coded

    def _settings(self, path: str) -> list[Any]:
        """Returns the values that a result depends on. If one changes, the file is redone."""
        values: list[Any] = [
            self.command,
            self.load().digest,
            self.quality,
            self.max_pixels,
            file_size(path),
        ]
        if self.background is not None:
            values += ["background", *self.background]
        if self.effort:
            values += ["effort", self.effort, self.tune, *weights_digests(self.tune)]
        entry = zoo.entry_of(self.model)
        if self.realism:
            values += [self.realism, entry.realism_sha256 if entry else ""]
        if self.decoder == "fast":
            values += ["fast", entry.fast_sha256 if entry else ""]
        return values

    def _relative(self, path: str) -> str:
        return posixpath.relpath(path, self.base)

    def _record_of(self, path: str) -> str:
        return f"{self.output}/{RECORDS}/{self.command}/{self._relative(path)}.json"

    def _target_of(self, path: str) -> str | None:
        """Returns the path of the output, named as `tfc-models` does; None for evaluate."""
        name = pathlib.Path(self._relative(path))
        if self.command == "compress":
            return f"{self.output}/{renamed(name, SUFFIX, images.has_image_suffix)}"
        if self.command == "decompress":
            return f"{self.output}/{renamed(name, '.png', is_compressed)}"
        return None

    def with_output_conflicts(self, paths: Sequence[str]) -> Job:
        """Returns a copy that knows which files have the same output path; these will fail."""
        by_target: dict[str | None, list[str]] = {}
        for path in paths:
            by_target.setdefault(self._target_of(path), []).append(path)
        by_target.pop(None, None)
        clashes = {}
        for same in (paths for paths in by_target.values() if len(paths) > 1):
            clashes.update({path: same[1] if path == same[0] else same[0] for path in same})
        return dataclasses.replace(self, clashes=clashes)


def find_files(pattern: str, command: str) -> list[str]:
    """Returns the sorted files of a pattern, of a folder, or a single file."""
    if _WILD.search(pattern):
        paths = _matches(pattern)
    elif nested := _matches(f"{pattern.rstrip('/')}/**"):
        # Unsupported image formats are included, so that they are reported as failed.
        readable = (*images.INPUT_SUFFIXES, *images.UNREADABLE_SUFFIXES)
        suffixes = (SUFFIX,) if command == "decompress" else readable
        paths = [path for path in nested if path.lower().endswith(suffixes)]
    else:
        paths = _matches(pattern)
    return sorted(p for p in paths if f"/{RECORDS}/" not in p and not p.endswith(".part"))


def split_utf8_names(paths: Sequence[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Returns paths in UTF-8, which workers and tables need, and failure records of the others."""
    named, failed = [], []
    for path in paths:
        try:
            path.encode("utf-8")
            named.append(path)
        except UnicodeEncodeError:
            escaped = path.encode("utf-8", "backslashreplace").decode("utf-8")
            failed.append({"file": escaped, "reason": "its name is not UTF-8: rename it."})
    return named, failed


def base_folder(pattern: str) -> str:
    """Returns the folder that output names are relative to: the part before any wildcard."""
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


def file_size(path: str) -> int:
    """Returns the size of a file, or -1 if there is none."""
    try:
        return FileSystems.get_filesystem(path).size(path)
    except (BeamIOError, OSError):
        return -1


def _write(path: str, data: bytes) -> None:
    """Writes a file atomically, through a temporary name."""
    part = f"{path}.part"
    with FileSystems.create(part, compression_type=_FILES) as file:
        file.write(data)
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder.")
    # A local rename replaces the file. Others may refuse to; `delete` takes patterns.
    if not os.path.exists(path) and file_size(path) >= 0:
        FileSystems.delete([glob.escape(path)])
    FileSystems.rename([part], [path])


def write_table(path: str, rows: list[dict[str, Any]]) -> None:
    """Writes records to a CSV file, sorted by file name."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(sorted(rows, key=lambda row: row["file"]))
    _write(path, text.getvalue().encode("utf-8") if rows else b"")


def one_line(error: BaseException) -> str:
    """Describes an error in one line, without a traceback."""
    lines = str(error).strip().splitlines() or [""]
    is_expected = isinstance(error, (ValueError, OSError, BitstreamError)) and lines[0]
    return lines[0] if is_expected else f"{type(error).__name__}: {lines[0]}"
