"""What both transports do with a request: find the model, run it, count it, log it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator

import grpc

from serving.batching import Batcher
from serving.errors import ServingError, exhausted
from serving.manager import Manager
from serving.metrics import Metrics

requests_log = logging.getLogger("serving.requests")


COPIES = 3  # of a request's bytes that are held: as they came, parsed, and the values in that


class Budget:
    """How many bytes of requests are held together, over both transports."""

    def __init__(self, total: int) -> None:
        self._total, self._held, self._lock = total, 0, threading.Lock()

    def take(self, count: int) -> None:
        """Takes a part, or says that there is none left."""
        with self._lock:
            if self._held + count > self._total:
                raise exhausted("the server holds as many requests as it has memory for")
            self._held += count

    def give_back(self, count: int) -> None:
        """The end of `take`."""
        with self._lock:
            self._held -= count

    @contextlib.contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Takes a part for as long as the block runs."""
        self.take(count)
        try:
            yield
        finally:
            self.give_back(count)


class Service:
    """The parts of a server that do not depend on how one talks to it."""

    def __init__(
        self, manager: Manager, batcher: Batcher, metrics: Metrics, budget: Budget
    ) -> None:
        self.manager, self.batcher, self.metrics = manager, batcher, metrics
        self.budget = budget

    def answered(
        self,
        api: str,
        model: str,
        started: float,
        error: ServingError | None,
        predicted: bool,
        **details: object,
    ) -> None:
        """Counts a prediction, and writes a line of JSON about any answer."""
        seconds = time.monotonic() - started
        code = error.code.name if error else grpc.StatusCode.OK.name
        if predicted:
            # Names that nobody configured are not to fill the metrics.
            known = model if model in self.manager.models() else ""
            self.metrics.count(known, code, api, seconds)
        line = {
            "time": round(time.time(), 3),
            "api": api,
            "model": model,
            "status": code,
            "ms": round(seconds * 1e3, 1),
            **details,
        }
        if error:
            line["error"] = error.message
        requests_log.info("%s", json.dumps(line))


def result_of(future: concurrent.futures.Future, timeout: float | None) -> dict:
    """What a batched call gives, waited for."""
    try:
        return future.result(timeout)
    except concurrent.futures.TimeoutError:
        future.cancel()
        raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None
