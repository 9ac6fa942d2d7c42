"""Options of the encoder search, --effort and --tune, and its expected time."""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from tfc_models import remote
from tfc_models.cli.errors import UsageError
from tfc_models.codec.tunable import tuned_metrics
from tfc_models.metrics import METRICS, Weights

MIN_DONE_FRACTION = 0.1  # Earlier estimates of the remaining time are too unstable.


def check_tune(options: argparse.Namespace, effort: int) -> None:
    """Checks that --tune has an effort and its metrics have weights.

    It runs before TensorFlow is loaded.
    """
    tune = options.tune
    if tune is not None and not effort:
        name = "--max-effort" if hasattr(options, "max_effort") else "--effort"
        raise UsageError(f"--tune has an effect with an effort above 0 only: give {name} 1 to 9.")
    names = set(tuned_metrics(tune))
    for name, weights in _all_weights().items():
        if name not in names:
            continue
        source = weights.source(options.weights.get(name))
        if not source:
            raise UsageError(f"--tune {name}: {METRICS[name].missing_weights}.")
        if not os.path.isdir(source):
            try:
                remote.check_there(source, f"weights of {name}")
            except FileNotFoundError as error:
                raise UsageError(str(error)) from None


def _all_weights() -> dict[str, Weights]:
    """Returns the weights records of all metrics that have one, by metric."""
    return {name: metric.weights for name, metric in METRICS.items() if metric.weights}


def check_weights_are_used(options: argparse.Namespace) -> None:
    """Checks that --tune names every metric of --weights."""
    for name in options.weights:
        if name not in tuned_metrics(options.tune):
            raise UsageError(f"--weights {name}=… has an effect with --tune {name} only.")


@contextlib.contextmanager
def weights_environment(options: argparse.Namespace) -> Iterator[None]:
    """Sets the environment variables that name metric weights to the files of --weights."""
    files = options.weights if getattr(options, "tune", None) else {}
    files = {_all_weights()[name].variable: file for name, file in files.items()}
    before = {variable: os.environ.get(variable) for variable in files}
    os.environ.update(files)
    try:
        yield
    finally:
        for variable, value in before.items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value


def compress_arguments(effort: int, tune: str | None) -> dict[str, Any]:
    """Returns the search arguments of `Codec.compress`; none for effort 0."""
    options: dict[str, Any] = {"effort": effort} if effort else {}
    return {**options, "tune": tune} if effort and tune is not None else options


class ExpectedTime:
    """Estimates the time of a search from its first steps."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._start = now, now()
        self._last = (0, self._start)
        self._rates: list[float] = []

    def seconds(self, done: int, total: int) -> float | None:
        """Returns the expected seconds of the whole search; None if it is too early to estimate.

        Args:
            done: units of work that are done; it increases with every call.
            total: all units of work.
        """
        before, then = self._last
        now = self._now()
        if done <= before:  # A further search of the same image.
            self._start, before, then = then, 0, then
            self._rates.clear()
        # The median ignores the slow first steps, which build a graph.
        self._rates.append((now - then) / (done - before))
        self._last = (done, now)
        if done < MIN_DONE_FRACTION * total or len(self._rates) < 3:
            return None
        return now - self._start + statistics.median(self._rates) * (total - done)
