"""Journal of measurements, so that an interrupted evaluation can resume.

Each image and setting is one line of JSON, appended and flushed at once. A line is reused only
for the same pixels and the same identity of codec, weights and setting. One journal may therefore
serve other codecs, images and releases. Incomplete lines are skipped. Values of further metrics
carry the identity of their metric and are reused only for that one. If several lines have the same
image and setting, the last one counts.
"""

from __future__ import annotations

import hashlib
import json
import math
import pathlib
from collections.abc import Sequence
from types import TracebackType

import numpy as np

from tfc_models.evaluation.measuring import Figures, finite
from tfc_models.evaluation.quality_metrics import QualityMetric

FORMAT = 1


def image_hash(image: np.ndarray) -> str:
    """Returns a hash of the pixels, which identifies an image independently of its file."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(image.tobytes())
    return digest.hexdigest()[:32]


class JournalError(OSError):
    """Raised if the journal cannot be written; further measurements would be lost."""


class GrowingFile:
    """File of lines that only grows.

    Args:
        path: the file; created if missing.

    Attributes:
        lines: lines that the file had when it was opened; the last one may be incomplete.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: pathlib.Path) -> None:
        text = path.read_bytes() if path.exists() else b""
        self.lines = text.splitlines()
        self._path = path
        # Closed by `close`.
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115
        if text and not text.endswith(b"\n"):
            self.append(b"\n")  # After an incomplete line.

    def append(self, line: bytes) -> None:
        """Appends a line, which ends with a line feed."""
        # Unbuffered and in one write: processes that share the file must not mix their lines.
        try:
            self._file.write(line)
        except OSError as error:
            raise JournalError(f"cannot write {self._path}: {error.strerror}.") from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class Journal:
    """Measurements by image and setting, in a file that only grows.

    >>> with Journal(folder / "journal.jsonl") as journal:
    ...     figures = journal.find(image_hash(image), setting.identity)

    Args:
        path: the file; created if missing.
        metrics: further metrics that a measurement must contain.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: pathlib.Path, metrics: Sequence[QualityMetric] = ()) -> None:
        self.metrics = tuple(metrics)
        self._known: dict[tuple[str, str], Figures] = {}
        # By image and setting: values of further metrics by the metrics' identities.
        self._further: dict[tuple[str, str], dict[str, float | None]] = {}
        self._file = GrowingFile(path)
        for line in self._file.lines:
            self._remember(line)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def find(self, image: str, identity: str) -> Figures | None:
        """Returns the measurement of an image (its hash) at a setting (its identity).

        Returns None if there is none, or if one of `metrics` was not measured.
        """
        figures = self._known.get((image, identity))
        kept = self._further.get((image, identity), {})
        if figures is None or not all(metric.identity in kept for metric in self.metrics):
            return None
        further = {metric.name: kept[metric.identity] for metric in self.metrics}
        return figures._replace(further=further)

    def add(self, image: str, identity: str, figures: Figures) -> None:
        """Appends a measurement and flushes it."""
        key = image, identity
        kept = self._further.setdefault(key, {})
        kept.update((m.identity, figures.further[m.name]) for m in self.metrics)
        # JSON has no infinity, which is the PSNR of lossless files.
        values = {**figures._asdict(), "psnr": finite(figures.psnr), "further": kept}
        if not kept:
            del values["further"]
        line = {"format": FORMAT, "picture": image, "setting": identity, **values}
        self._file.append(json.dumps(line).encode() + b"\n")
        self._known[key] = figures

    def _remember(self, line: bytes) -> None:
        try:
            item = json.loads(line)
            if item.pop("format") != FORMAT:
                return
            key = item.pop("picture"), item.pop("setting")
            further = dict(item.pop("further", {}))
            figures = Figures(**item)
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        psnr = math.inf if figures.psnr is None else figures.psnr
        self._known[key] = figures._replace(psnr=psnr)
        self._further[key] = further
