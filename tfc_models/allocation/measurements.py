"""Measurements of images at candidates, kept in a file so that a killed run can resume.

Each measurement is one line of JSON, appended in one write. It is reused only for the same pixels,
the same identity of codec, version or weights, and setting, and the same identities of the metrics.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple

import numpy as np

from tfc_models.allocation.candidates import Candidate
from tfc_models.evaluation import QualityMetric
from tfc_models.evaluation.journal import GrowingFile
from tfc_models.images import as_rgb

FORMAT = 1
FILE_NAME = "measurements.jsonl"


class Measurement(NamedTuple):
    """Size and quality of a file.

    Attributes:
        bytes: size of the whole file.
        mse: mean squared error over R, G and B.
        further: other metrics by name; None for images that are too small.
    """

    bytes: int
    mse: float
    further: Mapping[str, float | None]

    def value(self, name: str) -> float | None:
        """Returns "bytes", "mse" or another metric by name."""
        key = name.replace("-", "_")  # As in the results of evaluations.
        return self.further[key] if key in self.further else getattr(self, key)


class _Kept(NamedTuple):
    """Measurement in a file. Values of metrics are by the metrics' identities."""

    bytes: int
    mse: float
    further: dict[str, float | None]


class Measurements:
    """Measurements by image and candidate, in a file that only grows.

    Args:
        path: the file; created if missing. None keeps measurements in memory only.
        metrics: metrics that a measurement must contain.
        others: further files and folders of `.jsonl` files to read.

    Attributes:
        reused: number of measurements that were found.
        outdated: number of measurements that were not used, because they are of another version of
            the codec or of a metric.
    """

    def __init__(
        self,
        path: pathlib.Path | None,
        metrics: Sequence[QualityMetric] = (),
        others: Iterable[pathlib.Path] = (),
    ) -> None:
        self.metrics = tuple(metrics)
        self.reused = self.outdated = 0
        self._known: dict[tuple[str, str], _Kept] = {}
        self._labels: set[tuple[str, str]] = set()
        for other in others:
            files = sorted(other.rglob("*.jsonl")) if other.is_dir() else [other]
            for file in files:
                self._read(file.read_bytes().splitlines())
        self._file = None if path is None else GrowingFile(path)
        if self._file is not None:
            self._read(self._file.lines)

    def __enter__(self) -> Measurements:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def find(self, image: str, candidate: Candidate) -> Measurement | None:
        """Returns the measurement of an image (its hash); None if there is none to reuse."""
        kept = self._known.get((image, candidate.setting.identity))
        if kept is not None and all(metric.identity in kept.further for metric in self.metrics):
            self.reused += 1
            further = {metric.name: kept.further[metric.identity] for metric in self.metrics}
            return Measurement(kept.bytes, kept.mse, further)
        of_other_version = kept is None and (image, candidate.label) in self._labels
        if of_other_version or (kept is not None and self._has_other_metric(kept)):
            self.outdated += 1
        return None

    def add(self, image: str, candidate: Candidate, measurement: Measurement) -> None:
        """Appends a measurement."""
        identity = candidate.setting.identity
        before = self._known.get((image, identity))
        further = dict(before.further) if before else {}
        further.update((m.identity, measurement.further[m.name]) for m in self.metrics)
        self._known[image, identity] = _Kept(measurement.bytes, measurement.mse, further)
        if self._file is not None:
            self._file.append(line(image, candidate, measurement, further))

    def _has_other_metric(self, kept: _Kept) -> bool:
        """Returns whether a metric was measured with other weights or another version."""
        names = {identity.partition(" ")[0] for identity in kept.further}
        missing = (metric for metric in self.metrics if metric.identity not in kept.further)
        return any(metric.identity.partition(" ")[0] in names for metric in missing)

    def _read(self, lines: Iterable[bytes]) -> None:
        for item in lines:
            try:
                values = json.loads(item)
                if values["format"] != FORMAT:
                    continue
                key, label = (values["image"], values["setting"]), values["label"]
                kept = _Kept(values["bytes"], values["mse"], dict(values["further"]))
            except (ValueError, TypeError, KeyError, AttributeError):
                continue  # An incomplete line.
            if key in self._known:
                kept = kept._replace(further={**self._known[key].further, **kept.further})
            self._known[key] = kept
            self._labels.add((key[0], label))


def line(
    image: str, candidate: Candidate, measurement: Measurement, further: dict[str, float | None]
) -> bytes:
    """Returns a measurement as a line of a file; `further` is by the identities of the metrics."""
    values = {
        "format": FORMAT,
        "image": image,
        "label": candidate.label,
        "setting": candidate.setting.identity,
        "bytes": measurement.bytes,
        "mse": measurement.mse,
        "further": further,
    }
    return json.dumps(values).encode() + b"\n"


def measure(
    image: np.ndarray, candidate: Candidate, metrics: Sequence[QualityMetric]
) -> Measurement:
    """Codes an image, uint8, height × width × 3, or height × width if grey, and measures it."""
    data = candidate.setting.encode(image)
    original, decoded = (as_rgb(pixels) for pixels in (image, candidate.setting.decode(data)))
    if original.shape != decoded.shape:
        raise ValueError(f"{original.shape} came back as {decoded.shape}.")
    error = float(np.square(original.astype(np.int32) - decoded).mean())
    further = {metric.name: metric.of_pair(original, decoded) for metric in metrics}
    return Measurement(len(data), error, further)
