"""Counters and latencies, under the names that TF Serving gives them."""

from __future__ import annotations

import prometheus_client
from prometheus_client.core import Metric

# Microseconds, as TF Serving measures; each bound is 1.8 times the one before.
_BOUNDS = [round(10.0 * 1.8**i, 1) for i in range(33)]


class Metrics:
    """What a server counts."""

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
            "Pictures or files in a batch.",
            ["model_name"],
            buckets=[1, 2, 4, 8, 16, 32, 64],
            registry=self.registry,
        )
        self.queued = prometheus_client.Gauge(
            ":tensorflow:serving:batching_session:queued",
            "Pictures or files that wait for a batch.",
            registry=self.registry,
        )
        self.requests = prometheus_client.Counter(
            "tfc_models_requests",
            "Requests answered.",
            ["model_name", "status"],
            registry=self.registry,
        )
        self.registry.register(_TensorFlowNames(self.requests))

    def count(self, model: str, status: str, api: str, seconds: float) -> None:
        """Counts a prediction; the latency is that of the good ones."""
        self.requests.labels(model, status).inc()
        if status == "OK":
            self.latency.labels(model, "Predict", api).observe(seconds * 1e6)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return prometheus_client.generate_latest(self.registry)


class _TensorFlowNames:
    """The counter of requests under TF Serving's name, which lacks Prometheus' suffix."""

    def __init__(self, counter: prometheus_client.Counter) -> None:
        self._counter = counter

    def collect(self) -> list[Metric]:
        name = ":tensorflow:serving:request_count"
        metric = Metric(name, "Requests answered.", "unknown")
        for family in self._counter.collect():
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    metric.add_sample(name, sample.labels, sample.value)
        return [metric]
