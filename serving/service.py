"""What both transports do with a request: find the model, run it, count it, log it."""

from __future__ import annotations

import concurrent.futures
import json
import logging
import time

import grpc

from serving.batching import Batcher
from serving.errors import ServingError, failed
from serving.manager import Manager
from serving.metrics import Metrics

requests_log = logging.getLogger("serving.requests")


class Service:
    """The parts of a server that do not depend on how one talks to it."""

    def __init__(self, manager: Manager, batcher: Batcher, metrics: Metrics) -> None:
        self.manager, self.batcher, self.metrics = manager, batcher, metrics

    def answered(
        self,
        api: str,
        model: str,
        started: float,
        error: ServingError | None,
        **details: object,
    ) -> None:
        """Counts an answer, and writes a line of JSON about it."""
        seconds = time.monotonic() - started
        code = error.code.name if error else grpc.StatusCode.OK.name
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
    except ServingError:
        raise
    except Exception as error:
        raise failed(f"{type(error).__name__}: {error}") from None
