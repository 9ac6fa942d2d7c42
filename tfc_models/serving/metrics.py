"""Prometheus metrics of the server, with TF Serving's names."""

from __future__ import annotations

import collections
import threading

import prometheus_client
from prometheus_client.core import Metric

# TF Serving's buckets: microseconds, growing by a factor of 1.8.
_BOUNDS = [round(10.0 * 1.8**i, 1) for i in range(33)]


class Metrics:
    """Metrics of a server."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()
        self.registry = prometheus_client.CollectorRegistry()
        self.latency = prometheus_client.Histogram(
            ":tensorflow:serving:request_latency",
            "Time to answer a request, in microseconds.",
            ["model_name", "API", "entrypoint"],
            buckets=_BOUNDS,
            registry=self.registry,
        )
        self.batch_size = prometheus_client.Histogram(
            ":tensorflow:serving:batching_session:batch_size",
            "Examples in a batch.",
            ["model_name"],
            buckets=[1, 2, 4, 8, 16, 32, 64],
            registry=self.registry,
        )
        self.queued = prometheus_client.Gauge(
            ":tensorflow:serving:batching_session:queued",
            "Examples that wait for a batch.",
            registry=self.registry,
        )
        self._requests = _Requests()
        self.registry.register(self._requests)

    def record_request(self, model: str, status: str, api: str, seconds: float) -> None:
        """Counts a request by model and status, and records its latency if it succeeded."""
        self._requests.count(model, status)
        if status == "OK":
            self.latency.labels(model, "Predict", api).observe(seconds * 1e6)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return prometheus_client.generate_latest(self.registry)


class _Requests:
    """Request counter without `_total`, which prometheus_client would add to TF Serving's name."""

    def __init__(self) -> None:
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self._lock = threading.Lock()

    def count(self, model: str, status: str) -> None:
        """Counts a request."""
        with self._lock:
            self._counts[model, status] += 1

    def collect(self) -> list[Metric]:
        """Returns the counts, for the registry."""
        name = ":tensorflow:serving:request_count"
        metric = Metric(name, "Requests answered.", "unknown")
        with self._lock:
            for (model, status), count in self._counts.items():
                metric.add_sample(name, {"model_name": model, "status": status}, count)
        return [metric]
