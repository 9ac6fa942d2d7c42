"""Measurement of one image at several qualities by the Beam pipeline, for an allocation.

The output of an image is a file of measurements as `tfc-models allocate --measurements` reads it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from apache_beam.utils import shared

from tfc_models import allocation, evaluation, zoo
from tfc_models.allocation import measurements
from tfc_models.evaluation.journal import image_hash
from tfc_models.serving.bulk_work import Job, file_size

_tools = shared.Shared()  # One of each per process, shared by its threads.


class _Tools:
    """Candidates and metrics of a process."""

    def __init__(self, codecs: allocation.CodecSettings, metrics: tuple[str, ...]) -> None:
        self.candidates = codecs.candidates()
        self.metrics = [evaluation.quality_metric(name) for name in metrics]

    def identity(self) -> str:
        """Returns a digest of what the measurements depend on."""
        parts = [candidate.setting.identity for candidate in self.candidates]
        parts += [metric.identity for metric in self.metrics]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@dataclasses.dataclass(frozen=True)
class MeasureJob(Job):
    """Job that measures images.

    Attributes:
        codecs: codecs and qualities.
        metrics: metrics in addition to MSE.
    """

    codecs: allocation.CodecSettings = dataclasses.field(default_factory=allocation.CodecSettings)
    metrics: tuple[str, ...] = ()

    def prepare(self) -> None:
        """Loads the codecs and the metrics."""
        self._load_tools()

    def check(self) -> None:
        """Raises ValueError for invalid settings, before any file is processed."""
        if self.decoder != "full":
            raise ValueError("--decoder is for decompress.")
        if self.quality is not None or self.realism is not None or self.tune is not None:
            raise ValueError("--quality, --realism and --tune are not for measure: --qualities is.")
        if self.model != zoo.DEFAULT:
            raise ValueError("--model is not for measure: name models in --codecs.")
        known = allocation.metric_names()
        for name in self.metrics:
            if name not in known:
                raise ValueError(
                    f"there is no metric {name!r}; the metrics are: {', '.join(known)}."
                )
        self._load_tools()

    def _load_tools(self) -> _Tools:
        tag = repr((self.codecs, self.metrics))
        further = tuple(name for name in self.metrics if name not in ("mse", "psnr"))
        return _tools.acquire(lambda: _Tools(self.codecs, further), tag=tag)

    def _measure(self, data: bytes) -> tuple[bytes, dict[str, Any]]:
        image, tools = self._pixels(data), self._load_tools()
        hashed, lines, failure = image_hash(image), [], ValueError("there are no candidates.")
        for candidate in tools.candidates:
            try:
                result = measurements.measure(image, candidate, tools.metrics)
            except Exception as error:  # Other codecs may accept the image.
                failure = ValueError(str(error))
                continue
            further = {m.identity: result.further[m.name] for m in tools.metrics}
            lines.append(measurements.line(hashed, candidate, result, further))
        if not lines:
            raise failure
        output = b"".join(lines)
        pixels = image.shape[0] * image.shape[1]
        record = {"bytes_out": len(output), "pixels": pixels, "measurements": len(lines)}
        return output, record

    def _settings(self, path: str) -> list[Any]:
        values = [self.command, self._load_tools().identity(), self.max_pixels, file_size(path)]
        return [*values, "background", *self.background] if self.background else values

    def _target_of(self, path: str) -> str:
        return f"{self.output}/{self._relative(path)}.jsonl"
