"""Options of the encoder's search, --effort and --tune, and the time that it will take."""

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

KNOWN_SHARE = 0.1  # of the work, after which the expected time is known


def check(options: argparse.Namespace, effort: int) -> None:
    """Refuses a tuning without a search or without its weights, before TensorFlow is loaded."""
    tune = options.tune
    if tune is not None and not effort:
        name = "--max-effort" if hasattr(options, "max_effort") else "--effort"
        raise UsageError(
            f"--tune needs a search: give {name} 1 to 9, as a single pass has nothing to tune."
        )
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
    """Returns the weights of all metrics that have some, by metric."""
    return {name: metric.weights for name, metric in METRICS.items() if metric.weights}


def check_weights_are_used(options: argparse.Namespace) -> None:
    """Refuses weights of metrics that --tune does not name."""
    for name in options.weights:
        if name not in tuned_metrics(options.tune):
            raise UsageError(f"--weights {name}=… has an effect with --tune {name} only.")


@contextlib.contextmanager
def named_weights(options: argparse.Namespace) -> Iterator[None]:
    """Gives the search the weights of the options, by the environment variables that name them."""
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


def search_options(effort: int, tune: str | None) -> dict[str, Any]:
    """Arguments of `Codec.compress`; none for a single pass."""
    options: dict[str, Any] = {"effort": effort} if effort else {}
    return {**options, "tune": tune} if effort and tune is not None else options


class ExpectedTime:
    """Time that a search will take, from the times of its first steps."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._start = now, now()
        self._last = (0, self._start)
        self._rates: list[float] = []

    def seconds(self, done: int, total: int) -> float | None:
        """Returns the expected seconds of the whole search; None while it is too early to say.

        Args:
            done: units of work that are done, more at every call.
            total: all of them.
        """
        before, then = self._last
        now = self._now()
        if done <= before:  # A further search of the same image.
            self._start, before, then = then, 0, then
            self._rates.clear()
        # The median leaves out steps whose graph was built first.
        self._rates.append((now - then) / (done - before))
        self._last = (done, now)
        if done < KNOWN_SHARE * total or len(self._rates) < 3:
            return None
        return now - self._start + statistics.median(self._rates) * (total - done)
