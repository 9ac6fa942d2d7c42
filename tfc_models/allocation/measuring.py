"""Measurement of many images, in this process or in several."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from multiprocessing import connection
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tfc_models import evaluation, images
from tfc_models.allocation.candidates import Candidate, CodecSettings
from tfc_models.allocation.measurements import Measurement, Measurements, measure
from tfc_models.evaluation import JournalError
from tfc_models.evaluation.journal import image_hash
from tfc_models.limits import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE


@dataclasses.dataclass(frozen=True)
class MeasuringSettings:
    """Settings of all processes.

    Attributes:
        codecs: codecs and qualities.
        metrics: names of metrics in addition to MSE.
        weights: files of weights by metric.
        path: file of measurements; None keeps them in memory only.
        others: further files and folders of measurements to read.
        background: background color of transparent images.
        max_pixels: larger images are refused.
        max_side: images with a longer side are refused.
    """

    codecs: CodecSettings
    metrics: tuple[str, ...] = ()
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    path: pathlib.Path | None = None
    others: tuple[pathlib.Path, ...] = ()
    background: images.Color | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_side: int = DEFAULT_MAX_SIDE


class Measured(NamedTuple):
    """Measurements of one image.

    Attributes:
        path: file of the image.
        measurements: by candidate; None where the codec failed.
        error: why the image could not be read, or why every candidate failed; else None.
        failures: messages of the codecs that failed while others did not.
        reused: number of measurements from files.
        outdated: number of measurements of other versions that were made again.
    """

    path: pathlib.Path
    measurements: tuple[Measurement | None, ...]
    error: Exception | None = None
    failures: tuple[str, ...] = ()
    reused: int = 0
    outdated: int = 0


class Measurer:
    """Measures and encodes images. One object per process.

    Args:
        settings: settings of the measurements.
        candidates: candidates to measure; by default those of the settings.
    """

    def __init__(
        self, settings: MeasuringSettings, candidates: Sequence[Candidate] | None = None
    ) -> None:
        self._settings = settings
        self.candidates = list(settings.codecs.candidates() if candidates is None else candidates)
        metrics = [evaluation.quality_metric(n, settings.weights) for n in settings.metrics]
        self._measurements = Measurements(settings.path, metrics, settings.others)

    def __enter__(self) -> Measurer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._measurements.__exit__(kind, error, trace)

    def measure(self, path: pathlib.Path) -> Measured:
        """Measures an image at all candidates."""
        before = self._measurements.reused, self._measurements.outdated
        try:
            pixels = self._read(path)
        except Exception as unreadable:
            return Measured(path, (), unreadable)
        result: list[Measurement | None] = []
        failures: list[tuple[str, Exception]] = []
        hashed = image_hash(pixels)
        for candidate in self.candidates:
            try:
                result.append(self._of(pixels, hashed, candidate))
            except JournalError:
                raise
            except Exception as error:  # Other codecs may accept the image.
                failures.append((candidate.label, error))
                result.append(None)
        failure = failures[-1][1] if failures and not any(result) else None
        messages = tuple(f"{label}: {error}" for label, error in failures) if not failure else ()
        reused, outdated = self._measurements.reused, self._measurements.outdated
        counts = reused - before[0], outdated - before[1]
        return Measured(path, tuple(result), failure, messages, *counts)

    def encode(self, task: tuple[pathlib.Path, int]) -> bytes | Exception:
        """Returns the file of an image at a candidate, or the error."""
        path, index = task
        try:
            return self.candidates[index].setting.encode(self._read(path))
        except Exception as error:
            return error

    def _read(self, path: pathlib.Path) -> np.ndarray:
        settings = self._settings
        limits = settings.max_pixels, settings.max_side
        return images.read(path, settings.background, *limits).coded

    def _of(self, pixels: np.ndarray, hashed: str, candidate: Candidate) -> Measurement:
        known = self._measurements.find(hashed, candidate)
        if known is not None:
            return known
        measurement = measure(pixels, candidate, self._measurements.metrics)
        self._measurements.add(hashed, candidate, measurement)
        return measurement


class Workers:
    """Measurer in this process, or one in each of several processes.

    >>> with Workers(measurer, settings, processes=4) as workers:
    ...     results = list(workers.measure(paths))

    Args:
        measurer: the measurer of this process.
        settings: its settings, from which other processes make theirs.
        processes: number of processes; 1 works in this process.
    """

    def __init__(self, measurer: Measurer, settings: MeasuringSettings, processes: int) -> None:
        self._measurer, self._settings, self._processes = measurer, settings, processes
        self._pool: futures.ProcessPoolExecutor | None = None
        self._other_children = set(multiprocessing.active_children())

    def __enter__(self) -> Workers:
        if self._processes > 1:
            # TensorFlow's threads do not survive a fork.
            context = multiprocessing.get_context("spawn")
            threads = max((os.cpu_count() or 1) // self._processes, 1)
            self._pool = futures.ProcessPoolExecutor(
                self._processes, context, _initialize, (self._settings, threads)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            if error is not None:  # Does not wait for work in progress.
                for child in set(multiprocessing.active_children()) - self._other_children:
                    child.terminate()
            self._pool.shutdown(cancel_futures=True)

    def measure(self, paths: Sequence[pathlib.Path]) -> Iterator[Measured]:
        """Measures images, in order."""
        return self._map("measure", paths)

    def encode(self, tasks: Sequence[tuple[pathlib.Path, int]]) -> Iterator[bytes | Exception]:
        """Encodes images at the candidates of given indices, in order."""
        return self._map("encode", tasks)

    def _map(self, method: str, items: Sequence[Any]) -> Iterator[Any]:
        if self._pool is None:
            return map(getattr(self._measurer, method), items)
        return _results(self._pool, method, items)


def _results(pool: futures.ProcessPoolExecutor, method: str, items: Sequence[Any]) -> Iterator[Any]:
    try:
        yield from pool.map(_call, ((method, item) for item in items))
    except futures.BrokenExecutor as error:
        raise RuntimeError(
            "a worker process ended unexpectedly, perhaps for lack of memory: use fewer "
            "--processes, then give the same command again."
        ) from error


_of_process: list[Measurer] = []


def _initialize(settings: MeasuringSettings, threads: int) -> None:
    """Makes the measurer of a worker process, which ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent handles it.
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # The limits of the settings replace Pillow's.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if any(name not in evaluation.PEERS for name in settings.codecs.codecs) or settings.metrics:
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
    sys.stdout = sys.stderr  # Standard output belongs to the command.
    _of_process.append(Measurer(settings))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _call(task: tuple[str, Any]) -> Any:
    method, item = task
    result = getattr(_of_process[0], method)(item)
    if isinstance(result, Measured):
        return result._replace(error=result.error and _picklable(result.error))
    return _picklable(result) if isinstance(result, Exception) else result


def _picklable(error: Exception) -> Exception:
    """Returns an exception that another process can read."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return ValueError(str(error))
    return error
